from heedful.data.text.columns import read_columns, write_columns
from heedful.data.text.conllu import read_conllu, write_conllu
from heedful.data.text.dates import Written, written_dates
from heedful.data.text.pairs import Pairs, read_pairs, read_sources
from heedful.data.text.plain import read_plain
from heedful.data.text.sentences import Sentence
from heedful.data.text.spans import Score, Span, SpanScores, find_spans, is_bio, score_spans
from heedful.data.text.tables import Row, read_table
from heedful.data.text.tagged import Tagged, read_tagged, write_tagged
from heedful.data.text.texts import Texts, read_texts
from heedful.data.text.tokenizers import Characters, Subwords
from heedful.data.text.tokenizers import load as load_tokenizer

__all__ = [
    "Characters",
    "Pairs",
    "Row",
    "Score",
    "Sentence",
    "Span",
    "SpanScores",
    "Subwords",
    "Tagged",
    "Texts",
    "Written",
    "find_spans",
    "is_bio",
    "load_tokenizer",
    "read_columns",
    "read_conllu",
    "read_pairs",
    "read_plain",
    "read_sources",
    "read_table",
    "read_tagged",
    "read_texts",
    "score_spans",
    "write_columns",
    "write_conllu",
    "write_tagged",
    "written_dates",
]
