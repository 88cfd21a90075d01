from heedful.data._embedded import EMBEDDED
from heedful.data.pictures import Pictures, hold_out, read_pictures, read_unlabelled

__all__ = ["EMBEDDED", "Pictures", "hold_out", "read_pictures", "read_unlabelled"]
