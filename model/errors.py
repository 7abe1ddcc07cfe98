"""Every error the project raises on purpose, in one tree.

::

    VcemoError
    ├── InvalidUpload             the request holds no single recording
    ├── InvalidRequestTimeout     the deadline that a request names is not a number of milliseconds
    ├── RequestTooSlow            the head of the request does not come to its end
    ├── InvalidOption             an option of the request has a value that it cannot have
    ├── JobError                  what is asked of a job cannot be done
    │   ├── JobUnknown                there is none of that name, any more or for this caller
    │   ├── JobNotDone                it has no result yet, or never will
    │   └── JobInterrupted            the process that worked on it ended, time and again
    ├── AudioError                the caller's recording
    │   ├── UploadTooLarge            more bytes than allowed
    │   ├── UnsupportedAudio          not a container or codec we read
    │   ├── CorruptAudio              a known container that cannot be decoded, or holds no samples
    │   ├── AudioTooLong              more seconds than allowed
    │   ├── TooManyUtterances         more utterances than one request may hold
    │   ├── UnsupportedSampleRate     outside the rates we resample from
    │   ├── TooManyChannels
    │   ├── DecodeTooSlow             decoding it takes more time than allowed
    │   ├── DecodeTooLarge            decoding it takes more memory than allowed
    │   └── DecoderCrashed            the process that decoded it died
    ├── ServingError              the request is sound, the service could not answer it
    │   ├── Unauthorized              no API key that is known
    │   ├── RateLimited               the key has asked too often
    │   ├── TooManyAtOnce             the key has too many requests under way
    │   ├── NotReady                  still loading, or shutting down
    │   ├── Overloaded                a queue is full, or too long for the caller's deadline
    │   ├── DeadlineExceeded          the caller's time is up
    │   ├── Cancelled                 the caller is gone
    │   └── StageFailed               a stage raised something foreign
    ├── StreamError               what the client of a live call does
    │   ├── StreamInvalid             parameters or a message that are none of the protocol
    │   ├── OriginRefused             a page that is not allowed to ask from a browser
    │   ├── ClientTooSlow             does not read what it is sent
    │   ├── SessionUnknown            not here, or over for too long
    │   ├── SessionTaken              another connection went on with the call
    │   └── CallTooLong               lasts longer than allowed
    ├── AdminError                what an operator asks for is not done
    │   ├── AdminKeyInvalid           the key is missing or another
    │   ├── BundleOutside             the path leaves the folder that bundles are loaded from
    │   ├── BundleRefused             it does not verify; the one before is served on
    │   └── ReloadUnderWay            another one has not ended
    ├── AssetError                pre-trained parts
    │   ├── UnknownAsset
    │   ├── AssetMissing              not in the cache
    │   ├── AssetFetchFailed          no source could deliver it
    │   ├── AssetInvalid              not of the format that is read
    │   └── AssetChecksumMismatch     delivered, but not what was pinned
    ├── BundleError               the contract between training and service
    │   ├── BundleInvalid             a file or field is missing or of another schema
    │   ├── BundleChecksumMismatch    a file is not the one the bundle was sealed with
    │   └── GoldenMismatch            the network does not reproduce its golden case
    ├── NoRoom                    a disk is full, where something has to be written
    ├── StoreError                the place that bundles are kept in
    │   ├── StoreUnreachable          it cannot be read or written
    │   ├── VersionMissing            it has no such version
    │   └── VersionTaken              it has that version, with other contents or as the one in use
    ├── FeedbackError             a corrected label that is not kept
    │   ├── SegmentUnknown            nothing is known of that segment, or no more
    │   ├── LabelUnknown              not a label of the bundle that judged it
    │   └── FeedbackNotKept           the database cannot be reached
    ├── KeysInvalid               the file of API keys cannot be used
    ├── AlertRulesInvalid         the file of alert rules cannot be used
    ├── ClientError               what our own client hears of a service
    │   ├── ServiceRefused            it answered with a problem
    │   └── ServiceUnreachable        it did not answer, for longer than a live call waits
    ├── CorpusError               training data that cannot be used
    ├── CheckpointInvalid         not the state of this run
    ├── TableIncomplete           some runs of a table failed; the others are in it
    └── TrainingInterrupted       asked to stop, and saved

Each class carries a stable ``code``; ``value`` and ``limit`` say what was found and what was allowed.
HTTP status codes live in ``service/problems.py`` only.
"""

from typing import ClassVar


class VcemoError(Exception):
    """Base of the tree: a message for people, a ``code`` for programs, the offending value and its limit."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, value: object = None, limit: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.value = value
        self.limit = limit


class InvalidUpload(VcemoError):
    """The request is malformed: it holds no recording, or several."""

    code = "invalid_upload"


class InvalidRequestTimeout(VcemoError):
    """The deadline that a request names for itself is not a number of milliseconds."""

    code = "invalid_request_timeout"


class RequestTooSlow(VcemoError):
    """The head of the request has not arrived in time."""

    code = "request_too_slow"


class InvalidOption(VcemoError):
    """An option of the request has a value that it cannot have."""

    code = "invalid_option"


class JobError(VcemoError):
    """What is asked of a job cannot be done."""

    code = "job_error"


class JobUnknown(JobError):
    """There is no job of that name: there never was, it has expired, or it is another caller's."""

    code = "job_unknown"


class JobNotDone(JobError):
    """The job has no result: ``value`` is its status."""

    code = "job_not_done"


class JobInterrupted(JobError):
    """The process that worked on the job ended in the middle of it, as often as that is tried again."""

    code = "job_interrupted"


class AudioError(VcemoError):
    """The caller's recording cannot be used."""

    code = "invalid_audio"


class UploadTooLarge(AudioError):
    """The recording has more bytes than allowed."""

    code = "upload_too_large"


class UnsupportedAudio(AudioError):
    """The bytes are not in a container or codec that we read."""

    code = "unsupported_audio"


class CorruptAudio(AudioError):
    """The container is known but cannot be decoded, or holds no samples."""

    code = "corrupt_audio"


class AudioTooLong(AudioError):
    """The recording lasts longer than allowed."""

    code = "audio_too_long"


class TooManyUtterances(AudioError):
    """Voice activity found more utterances than one request may hold."""

    code = "too_many_utterances"


class UnsupportedSampleRate(AudioError):
    """The sample rate lies outside the range that we resample from."""

    code = "unsupported_sample_rate"


class TooManyChannels(AudioError):
    """The recording has more channels than allowed."""

    code = "too_many_channels"


class DecodeTooSlow(AudioError):
    """Decoding the recording takes more time than allowed."""

    code = "decode_too_slow"


class DecodeTooLarge(AudioError):
    """Decoding the recording takes more memory than allowed."""

    code = "decode_too_large"


class DecoderCrashed(AudioError):
    """The process that decoded the recording died over it."""

    code = "decoder_crashed"


class ServingError(VcemoError):
    """The request is sound, but the service could not answer it."""

    code = "serving_error"


class Unauthorized(ServingError):
    """The caller showed no API key, or none that is known."""

    code = "unauthorized"


class RateLimited(ServingError):
    """The API key has asked as often as it may for now; may ask again in ``retry_after_seconds``."""

    code = "rate_limited"

    def __init__(
        self, message: str, *, value: object = None, limit: object = None, retry_after_seconds: float = 0.0
    ) -> None:
        super().__init__(message, value=value, limit=limit)
        self.retry_after_seconds = retry_after_seconds


class TooManyAtOnce(ServingError):
    """The API key has as many requests under way as it may."""

    code = "too_many_at_once"


class NotReady(ServingError):
    """The service is still loading, or is shutting down."""

    code = "not_ready"


class Overloaded(ServingError):
    """A bounded queue is full, or too long for the caller's deadline."""

    code = "overloaded"

    def __init__(
        self, message: str, *, value: object = None, limit: object = None, retry_after_seconds: float = 0.0
    ) -> None:
        super().__init__(message, value=value, limit=limit)
        self.retry_after_seconds = retry_after_seconds  # when it may be worth asking again


class DeadlineExceeded(ServingError):
    """The caller's time ran out before the answer was complete."""

    code = "deadline_exceeded"


class Cancelled(ServingError):
    """The caller went away; nobody waits for the answer."""

    code = "cancelled"


class StageFailed(ServingError):
    """A stage of the pipeline raised an error that is not in this tree."""

    code = "internal_error"


class StreamError(VcemoError):
    """The client of a live call does what it may not."""

    code = "stream_error"


class StreamInvalid(StreamError):
    """The stream was opened with parameters, or got a message, that are none of the protocol."""

    code = "stream_invalid"


class OriginRefused(StreamError):
    """The page that asks comes from an origin that is not allowed."""

    code = "origin_refused"


class ClientTooSlow(StreamError):
    """The client did not read what it was sent for too long; the call waits for it to come back."""

    code = "client_too_slow"


class SessionUnknown(StreamError):
    """No live call of this id waits for its client here."""

    code = "session_unknown"


class SessionTaken(StreamError):
    """Another connection went on with the call."""

    code = "session_taken"


class CallTooLong(StreamError):
    """The live call lasts longer than allowed; what was heard is kept and summed up."""

    code = "call_too_long"


class AdminError(VcemoError):
    """What an operator asks a running service for is not done."""

    code = "admin_error"


class AdminKeyInvalid(AdminError):
    """The request carries no key, or another than the one that was set."""

    code = "admin_key_invalid"


class BundleOutside(AdminError):
    """The path is not, or does not stay, in the folder that bundles are loaded from."""

    code = "bundle_outside"


class BundleRefused(AdminError):
    """A new bundle cannot be served; ``value`` is the code of the reason, and the one before is served on."""

    code = "bundle_refused"


class ReloadUnderWay(AdminError):
    """Another bundle is being loaded."""

    code = "reload_under_way"


class AssetError(VcemoError):
    """A pre-trained part is not usable."""

    code = "asset_error"


class UnknownAsset(AssetError):
    """No asset of that name is listed in assets.toml."""

    code = "unknown_asset"


class AssetMissing(AssetError):
    """The asset is not in the cache and fetching was not asked for."""

    code = "asset_missing"


class AssetFetchFailed(AssetError):
    """No source could deliver the asset."""

    code = "asset_fetch_failed"


class AssetInvalid(AssetError):
    """A pre-trained part is not of the format that is read."""

    code = "asset_invalid"


class AssetChecksumMismatch(AssetError):
    """The delivered file is not the one that was pinned."""

    code = "asset_checksum_mismatch"


class BundleError(VcemoError):
    """A bundle cannot be served."""

    code = "bundle_error"


class BundleInvalid(BundleError):
    """A file or a field of the bundle is missing, or is of another schema version."""

    code = "bundle_invalid"


class BundleChecksumMismatch(BundleError):
    """A file of the bundle is not the one it was sealed with."""

    code = "bundle_checksum_mismatch"


class GoldenMismatch(BundleError):
    """The loaded network does not reproduce the bundle's golden case."""

    code = "golden_mismatch"


class NoRoom(VcemoError):
    """What has to be written finds no room: the disk is full, or a limit is reached."""

    code = "no_room"


class StoreError(VcemoError):
    """The place that bundles are kept in cannot do what is asked of it."""

    code = "store_error"


class StoreUnreachable(StoreError):
    """The store cannot be read or written, or the library for its kind of address is not installed."""

    code = "store_unreachable"


class VersionMissing(StoreError):
    """The store has no such version, or points to none."""

    code = "version_missing"


class VersionTaken(StoreError):
    """The store has that version already, with other contents; or the pointer was moved by somebody else."""

    code = "version_taken"


class FeedbackError(VcemoError):
    """A corrected label is not kept."""

    code = "feedback_error"


class SegmentUnknown(FeedbackError):
    """Nothing is known of the segment: it was never judged here, or too long ago."""

    code = "segment_unknown"


class LabelUnknown(FeedbackError):
    """The corrected label is none that the bundle tells apart."""

    code = "label_unknown"


class FeedbackNotKept(FeedbackError):
    """The database that feedback is kept in cannot be reached."""

    code = "feedback_not_kept"


class KeysInvalid(VcemoError):
    """The file of API keys cannot be read, or is not such a file."""

    code = "keys_invalid"


class AlertRulesInvalid(VcemoError):
    """The file of alert rules cannot be read, or is not such a file."""

    code = "alert_rules_invalid"


class ClientError(VcemoError):
    """A service did not do what our client asked for."""

    code = "client_error"


class ServiceRefused(ClientError):
    """The service answered with a problem: ``problem_code`` is its code, ``value`` and ``limit`` are its own."""

    code = "service_refused"

    def __init__(self, message: str, *, problem_code: str = "", value: object = None, limit: object = None) -> None:
        super().__init__(message, value=value, limit=limit)
        self.problem_code = problem_code


class ServiceUnreachable(ClientError):
    """The service did not answer for so long that there is no use in trying on."""

    code = "service_unreachable"


class CorpusError(VcemoError):
    """Training data is missing or malformed."""

    code = "corpus_error"


class CheckpointInvalid(VcemoError):
    """A checkpoint cannot be read, or is of another run."""

    code = "checkpoint_invalid"


class TableIncomplete(VcemoError):
    """Some runs of a table failed; those that ended are in it."""

    code = "table_incomplete"


class TrainingInterrupted(VcemoError):
    """A run was asked to stop; its checkpoint holds all it has done."""

    code = "training_interrupted"
