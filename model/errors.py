"""Every error the project raises on purpose, in one tree.

::

    VcemoError
    ├── InvalidUpload             the request holds no single recording
    ├── InvalidRequestTimeout     the deadline that a request names is not a number of milliseconds
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
    ├── KeysInvalid               the file of API keys cannot be used
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


class KeysInvalid(VcemoError):
    """The file of API keys cannot be read, or is not such a file."""

    code = "keys_invalid"


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
