"""Config keys that change no tensor's shape and no cache: how a model computes, trains or talks.

Exact names first, then patterns. A key that is in doubt is not here: it is read by a family, or it
has its class default, or the import is refused.
"""

import re

_FILE = """
    transformers_version torch_dtype dtype auto_map use_cache id2label label2id problem_type
    finetuning_task return_dict output_attentions output_hidden_states task_specific_params prefix
    suffix chunk_size_feed_forward tokenizer_class unsloth_version unsloth_fixed language
    pruned_heads torchscript use_bfloat16 gradient_checkpointing quantization_config
    cache_implementation custom_pipelines model_revision _name_or_path name_or_path quantization
    bad_words_ids num_labels architecture
"""
_POSITIONS = """
    rope_theta layer_rope_theta rope_scaling rope_parameters rope_local_base_freq rotary_emb_base rotary_pct
    rotary_percentage rotary_percent rope_percent rope_interleaved
    rotary_base rotary_dim rotary partial_rotary_factor rope_type rope_interleave rope_pct
    rope_ratio rope_mscale original_max_position_embeddings rotary_emb_fraction
    rotary_emb_scale_base rotary_scaling_factor use_rotary max_sequence_length
"""
_COMPUTATION = """
    hidden_act hidden_activation activation activation_function ffn_activation act_fn
    mlp_hidden_act projector_hidden_act layer_norm_eps layer_norm_epsilon layernorm_epsilon
    rms_norm_eps norm_eps norm_epsilon rms_norm_epsilon clip_qkv final_logit_softcapping
    attn_logit_softcapping
    query_pre_attn_scalar logits_soft_cap logit_scale attention_multiplier embedding_multiplier
    residual_multiplier logits_scaling scale_attn_weights scale_attn_by_inverse_layer_idx
    reorder_and_upcast_attn residual_in_fp32 use_mambapy use_associative_scan use_mamba_kernels
    chunk_size mamba_chunk_size scale_embedding normalize_embedding fused_qkv
    num_logits_to_keep use_flash_attn use_flash_attention flash_attn attn_implementation
    use_unsloth attention_softmax_in_fp32 softmax_scale use_kernel
"""
_ROUTING = """
    output_router_logits router_aux_loss_coef router_z_loss_coef router_jitter_noise
    aux_loss_alpha aux_loss_coef input_jitter_noise moe_aux_loss_coeff seq_aux router_jitter
    jitter_noise norm_topk_prob routed_scaling_factor scoring_func topk_method n_group topk_group
    num_expert_group moe_renormalize moe_router_activation_func router_activation_func ep_size
    expert_parallel_size moe_router_dtype moe_router_scaling_factor
"""
_TRAINING = """
    pretraining_tp initializer_range initializer_factor init_std init_method init_device
    initializer_cutoff_factor attention_dropout hidden_dropout embd_pdrop attn_pdrop resid_pdrop
    dropout dropout_rate hidden_dropout_prob attention_probs_dropout_prob activation_dropout
    classifier_dropout layerdrop encoder_layerdrop decoder_layerdrop embedding_dropout
    residual_dropout emb_pdrop mlp_dropout attn_dropout ffn_dropout feedforward_dropout
    time_step_min time_step_max time_step_floor time_step_limit time_step_scale
    time_step_init_scheme rescale_prenorm_residual summary_type summary_use_proj
    summary_activation summary_proj_to_labels summary_first_dropout rescale_layer
"""
_GENERATION = """
    encoder_no_repeat_ngram_size num_beam_groups diversity_penalty typical_p output_scores
    exponential_decay_length_penalty remove_invalid_values return_dict_in_generate
    num_beams max_length min_length no_repeat_ngram_size early_stopping length_penalty do_sample
    temperature top_k top_p repetition_penalty num_return_sequences begin_suppress_tokens
    suppress_tokens force_bos_token_to_be_generated pad_token eos_token bos_token unk_token
    generation_config bos_index eos_index pad_index is_causal
"""
_TOWERS = """
    vision_config audio_config image_seq_length mm_tokens_per_image
"""
_GROUPS = (_FILE, _POSITIONS, _COMPUTATION, _ROUTING, _TRAINING, _GENERATION, _TOWERS)
_NAMES = frozenset(" ".join(_GROUPS).split())
_PATTERNS = re.compile(r"_token_ids?$|_token_index$|_dropout(_prob|_rate)?$|^_")


def is_ignored(key: str) -> bool:
    """Whether a key has no influence on any tensor, for every model type."""
    return key in _NAMES or _PATTERNS.search(key) is not None
