"""An utterance posted alone against the same utterance posted among longer ones, over HTTP."""

from concurrent.futures import ThreadPoolExecutor

from bench.figures import Figure, Report
from bench.workbench import Workbench, posted, probabilities_of, running_service

_NUM_SHORT = 24
_NUM_LONG = 8


def measure(workbench: Workbench) -> Report:
    """Post short clips one by one, then all at once among long recordings, and compare the answers."""
    short = [clip.audio.read_bytes() for clip in workbench.clips("casia")[:: 900 // _NUM_SHORT] if clip.audio]
    long = [clip.audio.read_bytes() for clip in workbench.clips("spontaneous_zh")[:_NUM_LONG] if clip.audio]
    short = short[:_NUM_SHORT]
    with running_service(workbench.bundle, workbench.cache) as client:
        alone = [posted(client, audio) for audio in short]
        with ThreadPoolExecutor(max_workers=len(short) + len(long)) as pool:
            longer = [pool.submit(posted, client, audio) for audio in long]
            among = [answer.result() for answer in [pool.submit(posted, client, audio) for audio in short]]
            for answer in longer:
                answer.result()
        batches = client.get("/metrics").text
    differences = [
        abs(one[label] - other[label])
        for one, other in zip(probabilities_of(alone), probabilities_of(among), strict=True)
        for label in one
    ]
    same_text = sum(a["transcript"]["text"] == b["transcript"]["text"] for a, b in zip(alone, among, strict=True))
    sizes = [line for line in batches.splitlines() if "batch_size" in line and ("_sum" in line or "_count" in line)]
    return Report(
        title="From audio to probabilities: alone against among longer utterances",
        figures=[
            Figure(name="largest difference of a probability", value=max(differences), floor=1e-4, better="lower"),
            Figure(name="share of equal transcripts", value=same_text / len(short), floor=1.0),
        ],
        settings={"short": f"{len(short)} CASIA clips", "long": f"{len(long)} spontaneous clips, all posted at once"},
        remarks=sizes,
    )
