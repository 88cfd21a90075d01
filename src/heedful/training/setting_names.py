"""What other libraries call a setting, so that an error can say what it is called here."""

import difflib
from collections.abc import Iterable

_ELSEWHERE = {  # the setting here, of which the first that a task has is meant: its names elsewhere
    "training.learning_rate": "lr max_lr base_lr alpha eta step_size",
    "training.epochs": "epoch num_epochs n_epochs max_epochs num_train_epochs iterations num_iterations max_iter",
    "training.batch_size": "batch bs train_batch_size per_device_train_batch_size minibatch_size tokens_per_batch batch_tokens max_tokens",
    "training.weight_decay": "wd l2 decay weight_decay_rate",
    "training.warmup_ratio": "warmup warmup_steps num_warmup_steps warmup_proportion warmup_epochs warmup_updates",
    "training.gradient_clip": "clip grad_clip clip_norm clip_grad max_grad_norm gradient_clip_val gradient_clip_norm clip_grad_norm",
    "training.patience": "early_stopping early_stop early_stopping_patience n_iter_no_change",
    "training.seed": "random_seed random_state manual_seed",
    "training.precision": "amp fp16 bf16 mixed_precision use_amp half dtype",
    "training.ema_decay": "ema use_ema ema_momentum averaging",
    "training.beta1": "beta_1 adam_beta1",
    "training.beta2": "betas beta_2 adam_beta2 adam_betas",
    "model.width": "d_model embed_dim hidden_size hidden_dim n_embd embedding_dim embedding_size emb_dim emb_size dim hid_dim embed_size",
    "model.heads": "nhead num_heads n_heads n_head num_attention_heads attention_heads nheads",
    "model.layers": "num_layers n_layers n_layer depth num_hidden_layers num_encoder_layers encoder_layers nlayers num_blocks blocks",
    "model.ffn_width": "dim_feedforward d_ff ffn_dim intermediate_size mlp_dim ff_dim n_inner feedforward_dim ffn_embed_dim hidden",
    "model.dropout": "dropout_rate drop drop_rate dropout_prob hidden_dropout_prob p_dropout resid_pdrop",
    "model.drop_path": "drop_path_rate stochastic_depth",
    "model.architecture": "arch model_type model_name backbone kind",
    "model.positions": "pos_encoding positional_encoding position_embedding_type pos_embed positional_embedding",
    "model.ensemble_size": "ensemble n_models num_models members",
    "model.patch_size": "patch patchsize",
    "model.window": "attention_window window_size sliding_window",
    "model.context_length data.max_length model.max_positions": "max_length max_len max_seq_len max_seq_length seq_len sequence_length "
    "max_position_embeddings block_size context_size ctx_len n_ctx n_positions maxlen",
    "data.vocabulary_size": "vocab_size vocab max_features num_words bpe_size n_vocab",
    "data.min_count": "min_freq min_frequency min_df",
    "data.size": "image_size img_size input_size resize",
    "data.column": "label_column tag_column tag",
    "data.text data.source": "text_column text_field text_col source_column",
    "data.label data.target": "label_column label_field label_col target_column",
    "loss.label_smoothing": "smoothing label_smoothing_factor",
    "loss.consistency": "rdrop r_drop rdrop_alpha",
    "search.beams beams": "beam beam_size num_beams beam_width",
    "search.length_penalty length_penalty": "lenpen alpha",
    "search.no_repeat_ngram no_repeat_ngram": "no_repeat_ngram_size block_ngram_repeat",
    "max_new_tokens": "max_tokens max_length max_gen_len length num_tokens tokens",
    "num_samples": "num_return_sequences n samples",
    "n_best": "nbest num_hypotheses",
    "temperature": "temp",
    "top_k": "topk k return_all_scores",
    "top_p": "topp nucleus",
}
_NONE = {  # what no task has a setting for, and why
    "the optimizer is AdamW": "optimizer optim optimiser optimizer_name",
    "the learning rate rises, then falls as a cosine": "scheduler lr_scheduler lr_scheduler_type schedule",
    "a GPU is taken where PyTorch has one": "gpus gpu device devices cuda accelerator num_gpus n_gpu use_cuda no_cuda",
    "batches are made in the process itself": "num_workers workers n_jobs dataloader_num_workers",
}


def named_elsewhere(key: str, known: Iterable[str]) -> str | None:
    """The setting of this name in any section, or the one that other libraries call so.

    Args:
        key: as it was given, with its section or without.
        known: the settings that there are.

    Examples:
        >>> named_elsewhere("model.lr", ["model.width", "training.learning_rate"])
        'training.learning_rate'
    """
    ends, last = _ends(known), _end(key)
    names = set(ends.values())
    for here, elsewhere in _ELSEWHERE.items():
        if last not in ends and last in elsewhere.split():
            for name in here.split():
                if name in names:
                    return name
    return ends.get(last)


def meant(key: str, known: Iterable[str]) -> str | None:
    """What to say behind an unknown setting: the one that is meant, by its name elsewhere or by likeness; None: nothing is like it.

    Examples:
        >>> meant("modle.widht", ["model.width"]), meant("gpus", ["model.width"])
        (', did you mean `model.width`?', ': a GPU is taken where PyTorch has one')
    """
    ends, last = _ends(known), _end(key)
    found = named_elsewhere(key, known := list(ends.values()))
    if found is None:
        for reason, elsewhere in _NONE.items():
            if last in elsewhere.split():
                return f": {reason}"
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        near = near or [ends[end] for end in difflib.get_close_matches(last, ends, n=1, cutoff=0.75)]
        found = near[0] if near else None
    return None if found is None else f", did you mean `{found}`?"


def _ends(known: Iterable[str]) -> dict[str, str]:
    """The first setting of each name, without its section."""
    return {name.rpartition(".")[2]: name for name in reversed(list(known))}


def _end(key: str) -> str:
    return key.rpartition(".")[2].strip().lower().replace("-", "_")
