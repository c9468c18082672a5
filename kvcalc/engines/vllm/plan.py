"""From pages and groups to the pool: block counts, tokens, concurrency, need, estimate, waste."""

from collections.abc import Callable, Sequence
from fractions import Fraction

from kvcalc.engines.result import LayerGroup, Pool, Waste
from kvcalc.engines.vllm import waste
from kvcalc.engines.vllm.blocks import Schedule
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.groups import Group, Layout, group_layers, promote
from kvcalc.engines.vllm.page import Entry, Page, kinds_of
from kvcalc.engines.vllm.stack import Stack, check_heads
from kvcalc.engines.vllm.versions import rules_for
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.spec.model import ModelSpec
from kvcalc.units import format_bytes

# `vllm serve` on GPUs of 70 to 160 GiB; 2048 on smaller ones and on A100, 16384 on larger
# (EngineArgs.get_batch_defaults).
DEFAULT_BATCHED_TOKENS = 8192


class Plan:
    """What vLLM plans for one model and one set of flags, before it knows the memory."""

    def __init__(self, spec: ModelSpec, request: VllmFlags) -> None:
        check_heads(spec, request.layout.tensor)
        self.rules = rules_for(request.engine_version)
        self.request, self.spec = request, spec
        self.stack = Stack(spec, request, self.rules)
        self.max_model_len = self.stack.max_model_len
        self._rules: list[str] = list(self.stack.rules_applied)
        self._notes: list[str] = list(self.stack.notes)
        self.context_ranks = request.decode_context_parallel or 1
        self._check()
        self.schedule = self._schedule()
        # Searches, and every stage, ask about the same lengths.
        self._blocks: dict[int, int] = {}
        self.layout = self._layout()
        if self.stack.entries:
            self._explain()

    @property
    def entries(self) -> tuple[Entry, ...]:
        return self.stack.entries

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.layout.groups

    @property
    def only_states(self) -> bool:
        """No layer has attention: a block is a state, whatever its tokens."""
        return all(entry.page.kind == "state" for entry in self.entries)

    @property
    def rules_applied(self) -> tuple[str, ...]:
        return tuple(self._rules)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    # ------------------------------------------------------------ flags

    def _check(self) -> None:
        request, ranks = self.request, self.context_ranks
        if request.max_model_len is not None and request.max_model_len < 1:
            raise UsageError("--max-model-len must be at least 1")
        if request.layout.tensor % ranks:
            raise UsageError(
                f"--dcp {ranks}: decode context parallel ranks are tensor-parallel ranks, and "
                f"{request.layout.tensor} do not divide into groups of {ranks}"
            )
        if ranks > 1:
            if any(e.page.kind in ("window", "latent_window", "chunk") for e in self.entries):
                raise UnsupportedError("vLLM shards no windows among --dcp ranks")
            shares = [e.page.replicated for e in self.entries if e.page.kind == "full"]
            if any(held // total < ranks for held, total in shares):
                raise UsageError(
                    f"--dcp {ranks}: each KV head must be on at least {ranks} of the --tp ranks"
                )
        self._check_drafts()
        self._check_schedule()
        if self.stack.hybrid and not self.rules.recurrent:
            raise UnsupportedError("before 0.10 vLLM kept recurrent states outside its blocks")

    def _check_drafts(self) -> None:
        """A model's modules draft in turn (SpeculativeConfig.__post_init__, "must be divisible")."""
        tokens, mtp = self.stack.draft_tokens, self.spec.mtp
        if (
            self.request.draft is not None
            or mtp is None
            or self.stack.num_draft_layers != mtp.num_layers
        ):
            return
        count = mtp.num_layers
        if tokens > count and tokens % count:
            raise UsageError(
                f"--speculative-tokens {tokens}: the model's {count} MTP modules draft in turn, and "
                f"vLLM takes multiples of {count}; use {tokens // count * count} or "
                f"{-(-tokens // count) * count}"
            )

    def _check_schedule(self) -> None:
        """What a server stops at before it loads a model.

        SchedulerConfig.verify_max_model_len (0.11.0 to 0.33.0); and of 0.11 alone, EngineArgs and
        GPUModelRunner.get_kv_cache_spec.
        """
        request, drafts = self.request, self.stack.draft_tokens
        batch, requests = request.max_num_batched_tokens, request.max_num_seqs
        if batch is not None and requests is not None and batch < requests:
            raise UsageError(
                f"vLLM stops: --max-num-batched-tokens {batch} is less than --max-num-seqs {requests}, "
                f"and a step has a token of each request: give {requests} or more tokens, or "
                f"{batch} requests"
            )
        if self.rules.number[:2] != (0, 11):
            return
        if self.stack.hybrid and drafts and self.spec.model_type != "qwen3_next":
            raise UnsupportedError(
                "vLLM 0.11 stops: no speculation with recurrent states but Qwen3-Next's; leave "
                "--speculative-tokens out, or take 0.12"
            )
        if request.async_scheduling and (drafts or request.layout.pipeline > 1):
            with_what = "speculation" if drafts else "pipeline ranks"
            raise UsageError(
                f"vLLM 0.11 stops: no --async-scheduling with {with_what}; leave it out"
            )

    def _schedule(self) -> Schedule:
        request, rules = self.request, self.rules
        batch = request.max_num_batched_tokens or DEFAULT_BATCHED_TOKENS
        if request.max_num_batched_tokens is None and request.max_num_seqs is not None:
            batch = min(batch, request.max_num_seqs * self.max_model_len)
        batches = 1
        stages = request.layout.pipeline
        if rules.batches_in_flight:
            batches = stages
            if request.async_scheduling is not False:
                batches = stages + 1 if stages == 1 or rules.pipeline_plus_one else stages
        drafts = self.stack.draft_tokens
        several = self.stack.num_draft_layers > 1 and request.draft is None
        return Schedule(
            in_flight=batches * batch,
            extra=max(0, drafts - 1) if several and rules.retains_for_modules else 0,
            context_ranks=self.context_ranks,
            encoder_tokens=self._encoder_tokens(),
            states=self._states(drafts),
        )

    def _states(self, drafts: int) -> int | None:
        """Blocks of one request in a group of recurrent states (MambaSpec)."""
        rules = self.rules
        if not rules.align_mode:
            return None if self.stack.prefix_caching and self.stack.hybrid else 1
        if not self.stack.prefix_caching:
            return 1 + drafts
        mamba2 = any(name == "mamba2" for _, name in kinds_of(self.entries))
        return 2 + drafts + ((rules.prefill_checkpoint and mamba2) or self.stack.checkpoint)

    def _encoder_tokens(self) -> int:
        if not any(kind == "cross" for kind, _ in kinds_of(self.entries)):
            return 0
        fixed = self.spec.encoder.tokens if self.spec.encoder is not None else None
        tokens = fixed or self.request.encoder_tokens
        if tokens is None:
            raise UsageError("cross-attention keeps the encoder's tokens: give --encoder-context")
        return tokens

    def _layout(self) -> Layout:
        """Groups, after windows are billed as full attention where the hybrid manager is off."""
        entries = self.entries
        if not entries:
            return Layout((), ())
        if not self._hybrid_manager():
            promoted = tuple(promote(entries, self.rules))
            if promoted != entries:
                self._rules.append(
                    "windows and chunks are billed as full attention: the hybrid KV cache manager is "
                    "off (unify_hybrid_kv_cache_specs)"
                )
            entries = promoted
        return group_layers(entries, self.rules)

    def _hybrid_manager(self) -> bool:
        if not self.rules.hybrid_pool:
            return False
        if self.request.hybrid_manager is not None:
            return self.request.hybrid_manager
        if any(kind == "chunk" for kind, _ in kinds_of(self.entries)):
            self._notes.append(
                "vLLM turns its hybrid manager off for chunked attention; --hybrid-manager is "
                "VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE=1"
            )
            return False
        return True

    def _explain(self) -> None:
        rules, kinds = self.rules, {page.kind for page in self.layout.pages}
        self._rules += self.layout.rules
        if kinds & {"window", "latent_window", "chunk"}:
            what = "every batch in flight" if rules.batches_in_flight else "one batch"
            self._rules.append(
                f"a request reserves its window and {self.schedule.in_flight} tokens in flight, {what} "
                f"of max_num_batched_tokens (SlidingWindowSpec.max_admission_blocks_per_request)"
            )
            if self.request.max_num_batched_tokens is None:
                self._notes.append(
                    f"max_num_batched_tokens of {DEFAULT_BATCHED_TOKENS}, the server's default on GPUs "
                    f"of 70 to 160 GiB (2048 on smaller ones and A100, 16384 on larger)"
                )
        if "state" in kinds:
            count = self.schedule.states
            mode = "align" if self.stack.prefix_caching else "none"
            self._rules.append(
                "a state for every block of the sequence (MambaSpec, mode all)"
                if count is None
                else f"{count} state(s) a request and group, {self.stack.draft_tokens} draft tokens "
                f"(MambaSpec.max_memory_usage_bytes, mode {mode})"
            )
        if not (rules.need_by_group or rules.v0) and len(self.groups) > 1:
            self._rules.append(
                "the need that this version states counts each layer by itself, without padding layers "
                "(max_memory_usage_bytes, before 0.14)"
            )
        if rules.need_of_first_group and len(self.groups) > 1:
            self._rules.append(
                "the need that this version states is the blocks of its first group only "
                "(_max_memory_usage_bytes_from_groups, 0.14 to 0.18)"
            )
        if rules.need_of_whole_model and len(self.stack.stages) > 1:
            self._rules.append(
                "the need that this version states is that of all stages together (get_kv_cache_configs, "
                "0.14 to 0.16)"
            )
        if len(self.stack.stages) > 1:
            sizes = ",".join(str(len(stage)) for stage in self.stack.stages)
            self._rules.append(
                f"pipeline stages of {sizes} layers; the fullest decides (get_pp_indices)"
            )
        if self.request.block_size is None and not kinds & {"state"}:
            self._notes.append(
                f"blocks of {self.stack.block} tokens; where the log says otherwise give --block-size"
            )
        self._rules.append(
            "cache size in tokens: int(concurrency * max_model_len) (get_kv_cache_capacity, since 0.20.1)"
            if rules.tokens_from_concurrency
            else "cache size in tokens: blocks // groups * smallest block (before 0.20.1)"
        )

    # ------------------------------------------------------------ the pool

    def blocks_per_request(self, tokens: int) -> int:
        """Blocks of one request of ``tokens``, over all groups."""
        found = self._blocks.get(tokens)
        if found is None:
            blocks = self.schedule.blocks
            found = sum([blocks(page, tokens) for page in self.layout.pages])
            self._blocks[tokens] = found
        return found

    def blocks_of_concurrency(self) -> int:
        """Blocks of one request of max_model_len as the concurrency counts them.

        DeepSeek-V4's groups have blocks of different sizes; up to 0.26 a request's bytes are divided
        by the first group's (get_max_concurrency_for_kv_cache_config).
        """
        length = self.max_model_len
        if self.rules.packed_layers or not any(page.tokens_per_state > 1 for page in self.pages()):
            return self.blocks_per_request(length)
        sizes = [sum(entry.page.page_bytes for entry in group.entries) for group in self.groups]
        total = sum(
            size * self.schedule.blocks(group.page, length)
            for size, group in zip(sizes, self.groups, strict=True)
        )
        return -(-total // sizes[0])

    def pages(self) -> set[Page]:
        """Every page of the layout."""
        return {entry.page for group in self.groups for entry in group.entries}

    def need(self, stage: Sequence[int], tokens: int) -> int:
        """Bytes that the check at startup asks for on a pipeline stage."""
        rules = self.rules
        if rules.need_by_group or rules.v0:
            whole = None if rules.need_of_whole_model else stage
            blocks = (
                self.schedule.blocks(self.groups[0].page, tokens)
                if rules.need_of_first_group
                else self.blocks_per_request(tokens)
            )
            return self.layout.bytes_per_block(whole) * blocks
        return sum(
            self.schedule.blocks(entry.page, tokens) * entry.page.page_bytes
            for entry in self.entries
            if entry.layer in set(stage)
        )

    def check(self, available: int) -> tuple[int, int]:
        """What the check says: (bytes needed, longest request), at most max_model_len.

        Stages are checked in their order, and the first that does not fit is named
        (_check_enough_kv_cache_memory); where all fit, the one that needs most.
        """

        def usable(stage: Sequence[int]) -> int:
            null = self.layout.bytes_per_block(stage) if self.rules.null_block_in_check else 0
            return available - null

        length, stages = self.max_model_len, [stage for stage in self.stack.stages if stage]
        short = [stage for stage in stages if self.need(stage, length) > usable(stage)]
        named = short[0] if short else max(stages, key=lambda stage: self.need(stage, length))
        room = usable(named)
        longest = _longest(lambda tokens: self.need(named, tokens) <= room, length)
        return self.need(named, length), longest

    def pool(self, available: int) -> Pool:
        """What the log will say. Raises UsageError when not one block fits."""
        if not self.groups:
            return Pool(available_bytes=available)
        per_block = max(self.layout.width(stage) for stage in self.stack.stages)
        num_blocks = available // per_block
        if num_blocks < 1:
            raise UsageError(
                f"{format_bytes(available)} hold no block of {format_bytes(per_block)}: vLLM stops with "
                f"'No available memory for the cache blocks'. {format_bytes(per_block - available)} more "
                f"would do: a higher memory utilization, more ranks or smaller weights"
            )
        blocks = self.blocks_of_concurrency()
        block = min(group.page.block_tokens for group in self.groups)
        length = self.max_model_len
        needed, longest = self.check(available)
        old_tokens = num_blocks // len(self.groups) * block * self.context_ranks
        concurrency = Fraction(num_blocks, blocks)
        if self.rules.concurrency_from_tokens:
            concurrency = Fraction(old_tokens, length)
        tokens = old_tokens
        if self.rules.tokens_from_concurrency:
            # vLLM divides and multiplies in floating point, so the last token depends on it.
            tokens = int(num_blocks / blocks * length)
        return Pool(
            available_bytes=available,
            block_tokens=block if self.only_states else self.stack.block,
            bytes_per_block=per_block,
            num_blocks=num_blocks,
            tokens=tokens,
            max_concurrency=concurrency,
            blocks_per_request=self.blocks_per_request(length),
            bytes_per_request=needed,
            estimated_max_model_len=longest,
        )

    def groups_shown(self) -> tuple[LayerGroup, ...]:
        """Groups of equal pages as one row, as vLLM counts padding layers."""
        rows: dict[tuple[int, Page], LayerGroup] = {}
        for group in self.groups:
            blocks = self.schedule.blocks(group.page, self.max_model_len)
            for page in dict.fromkeys(entry.page for entry in group.entries):
                key = (0 if len(self.groups) > 1 else 1, page)
                own = sum(entry.page == page for entry in group.entries)
                row = rows.get(key)
                rows[key] = LayerGroup(
                    mechanism=_title(page),
                    layers=own + (row.layers if row else 0),
                    padding_layers=group.padding + (row.padding_layers if row else 0),
                    block_tokens=page.block_tokens,
                    page_bytes=page.page_bytes,
                    blocks_per_request=blocks + (row.blocks_per_request or 0 if row else 0),
                )
        return tuple(rows.values())

    # ------------------------------------------------------------ what is lost

    def logical_bytes(self) -> int:
        """A request of max_model_len on the fullest stage, in whole tokens and unpadded states."""
        stage = self.fullest_stage()
        return sum(self.logical(entry.own) for entry in self.entries if entry.layer in stage)

    def fullest_stage(self) -> frozenset[int]:
        """Layers of the pipeline rank with the widest blocks."""
        return frozenset(max(self.stack.stages, key=self.layout.bytes_per_block))

    def logical(self, page: Page) -> int:
        """What a layer needs of a request of max_model_len, on this rank."""
        length = self.max_model_len
        if page.kind == "state":
            return page.token_bytes
        if page.kind == "cross":
            return self.schedule.encoder_tokens * page.token_bytes
        if page.window is not None:
            return min(page.window, length) * page.token_bytes
        stored = -(-length // self.context_ranks) // page.tokens_per_state
        return stored * page.token_bytes

    def waste(self, pool: Pool) -> tuple[Waste, ...]:
        """Where memory goes beyond the logical need."""
        if not self.groups:
            return ()
        found = (*waste.of_pool(pool, self.rules.v0), *waste.of_request(self))
        return tuple(item for item in found if item.bytes > 0)


def _longest(fits: Callable[[int], bool], longest: int) -> int:
    """The largest number up to ``longest`` that fits; 0 when not even 1 does."""
    if not fits(1):
        return 0
    low, high = 1, longest
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _title(page: Page) -> str:
    if page.window is None or page.name.endswith(("window", "state")):
        return page.name
    return f"{page.name} {'chunk' if page.kind == 'chunk' else 'window'} {page.window}"
