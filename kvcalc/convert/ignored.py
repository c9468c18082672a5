"""Config keys that change no tensor's shape and no cache: how a model computes, trains or talks.

Exact names first, then patterns. A key that is in doubt is not here: it is read by a family, or it
has its class default, or the import is refused.
"""

import re

_NAMES = frozenset(
    """
    transformers_version torch_dtype dtype auto_map use_cache _name_or_path _attn_implementation
    _commit_hash id2label label2id problem_type finetuning_task return_dict output_attentions
    output_hidden_states task_specific_params prefix suffix chunk_size_feed_forward
    tokenizer_class unsloth_version unsloth_fixed language
    pretraining_tp rope_theta rope_scaling rope_parameters rope_local_base_freq rotary_emb_base
    rotary_pct rotary_base rotary_dim rotary partial_rotary_factor rope_type rope_interleave
    rope_pct rope_ratio rope_position_embedding rope_mscale original_max_position_embeddings
    hidden_act hidden_activation activation activation_function ffn_activation act_fn mlp_hidden_act
    initializer_range initializer_factor init_std init_method initializer_cutoff_factor init_device
    layer_norm_eps layer_norm_epsilon layernorm_epsilon rms_norm_eps norm_eps norm_epsilon
    attention_dropout hidden_dropout embd_pdrop attn_pdrop resid_pdrop dropout dropout_rate
    hidden_dropout_prob attention_probs_dropout_prob activation_dropout classifier_dropout layerdrop
    encoder_layerdrop decoder_layerdrop embedding_dropout residual_dropout emb_pdrop mlp_dropout
    attn_dropout ffn_dropout feedforward_dropout token_dropout
    output_router_logits router_aux_loss_coef router_z_loss_coef router_jitter_noise aux_loss_alpha
    aux_loss_coef input_jitter_noise moe_aux_loss_coeff seq_aux router_jitter jitter_noise
    norm_topk_prob routed_scaling_factor scoring_func topk_method n_group topk_group
    num_expert_group moe_renormalize moe_router_activation_func router_activation_func
    final_logit_softcapping attn_logit_softcapping query_pre_attn_scalar logits_soft_cap
    logit_scale attention_multiplier embedding_multiplier residual_multiplier logits_scaling
    ep_size head_group expert_parallel_size
    summary_type summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout
    scale_attn_weights scale_attn_by_inverse_layer_idx reorder_and_upcast_attn 
    clip_qkv bad_words_ids forced_bos_token_id forced_eos_token_id decoder_start_token_id
    begin_suppress_tokens suppress_tokens num_beams max_length min_length no_repeat_ngram_size
    early_stopping length_penalty do_sample temperature top_k top_p repetition_penalty
    num_return_sequences static_position_embeddings scale_embedding normalize_before
    normalize_embedding force_bos_token_to_be_generated
    gradient_checkpointing pruned_heads torchscript use_bfloat16
    time_step_min time_step_max time_step_floor time_step_limit time_step_scale
    time_step_init_scheme rescale_prenorm_residual residual_in_fp32 use_mambapy
    use_associative_scan use_mamba_kernels chunk_size mamba_chunk_size
    vision_config audio_config vision_start_token_id vision_end_token_id vision_token_id
    image_token_id video_token_id audio_token_id image_token_index video_token_index
    image_seq_length mm_tokens_per_image boi_token_index eoi_token_index boi_token_id eoi_token_id
    num_logits_to_keep use_flash_attn use_flash_attention flash_attn attn_implementation
    use_unsloth quantization fused_qkv 
    pad_token eos_token bos_token unk_token_id sep_token_id cls_token_id
    mask_token_id 
    """.split()
)
_PATTERNS = re.compile(r"_token_id(s)?$|_token_index$|_dropout(_prob|_rate)?$|^_")


def is_ignored(key: str) -> bool:
    """Whether a key has no influence on any tensor, for every model type."""
    return key in _NAMES or _PATTERNS.search(key) is not None
