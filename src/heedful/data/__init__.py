from heedful.data._embedded import EMBEDDED
from heedful.data.batch_types import SentenceBatch, TokenBatch, WordBatch
from heedful.data.frames import FrameColumns, from_frame
from heedful.data.images import LabeledImages, read_images, read_unlabeled
from heedful.data.stored_images import StoredImages

__all__ = [
    "EMBEDDED",
    "FrameColumns",
    "LabeledImages",
    "SentenceBatch",
    "StoredImages",
    "TokenBatch",
    "WordBatch",
    "from_frame",
    "read_images",
    "read_unlabeled",
]
