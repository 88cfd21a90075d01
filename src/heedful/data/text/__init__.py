from heedful.data.text.columns import read_columns, write_columns
from heedful.data.text.conllu import read_conllu, write_conllu
from heedful.data.text.dates import DateExample, date_examples
from heedful.data.text.documents import SummaryExamples, read_documents
from heedful.data.text.labeled import LabeledTexts, read_texts
from heedful.data.text.parallel import ParallelTexts, read_pairs, read_sources
from heedful.data.text.plain import PlainText, read_plain
from heedful.data.text.sentences import Sentence
from heedful.data.text.spans import LabeledSpan, SpanScore, SpanScores, find_spans, is_bio, score_spans
from heedful.data.text.tables import TableRow, read_table
from heedful.data.text.tagged import Tagged, read_tagged, write_sentence, write_tagged
from heedful.data.text.tokenizers import Characters, Subwords
from heedful.data.text.tokenizers import load as load_tokenizer

__all__ = [
    "Characters",
    "DateExample",
    "LabeledSpan",
    "LabeledTexts",
    "ParallelTexts",
    "PlainText",
    "Sentence",
    "SpanScore",
    "SpanScores",
    "Subwords",
    "SummaryExamples",
    "TableRow",
    "Tagged",
    "date_examples",
    "find_spans",
    "is_bio",
    "load_tokenizer",
    "read_columns",
    "read_conllu",
    "read_documents",
    "read_pairs",
    "read_plain",
    "read_sources",
    "read_table",
    "read_tagged",
    "read_texts",
    "score_spans",
    "write_columns",
    "write_conllu",
    "write_sentence",
    "write_tagged",
]
