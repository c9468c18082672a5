"""Which rules a version of SGLang follows. Each boundary was read in the releases' own sources.

0.5.5, 0.5.11, 0.5.18: which row a format's name means; see resolve.py.
0.5.6: layers that pipeline ranks do not share evenly go one each to the last ranks; before, all to the
    last.
0.5.11: the full and the window pool are sized at once (HybridSWAPoolConfigurator); before, tokens of
    equal layers were counted first, rounded to a page, and divided between the pools.
0.5.11: DFlash drafts (absent 0.5.9); 0.5.16: DSpark (absent 0.5.14); 0.5.20: Domino and
    DFlash2 (absent 0.5.18).
0.5.13: states and those of draft tokens share the memory of states; before, the drafts' were taken
    from the whole first.
0.5.14: draft layers widen a token; without a radix cache the window pool is sized for the requests.
0.5.17: the padding slot of states is paid for, and every pipeline rank has the slots of the stage with
    the most states; DSA's fp8 rows are counted with their scales (they were always stored so).
0.5.18: room for embeddings of media is set aside before the pools are sized.
0.5.18: layers that take another's top-k have no index keys; DSA's draft layers are counted apart.
0.5.22: draft layers are added to a token's bytes, not multiplied in.

0.3.0, 0.4.0, 0.4.6 and 0.4.9 have the tokens and rows of 0.5.3 for attention alone (profile_max_num_token,
MHATokenToKVPool, MLATokenToKVPool). Before 0.5.7 windows and states were sized by other rules, which are
not accounted for.
"""

import re
from fractions import Fraction

from kvcalc.errors import UsageError
from kvcalc.frozen import frozen

OLDEST, NEWEST = "0.3.0", "0.5.23"
# --swa-full-tokens-ratio, --mamba-full-memory-ratio.
WINDOW_RATIO, STATE_RATIO = Fraction(8, 10), Fraction(9, 10)


@frozen(kw_only=True)
class Rules:
    """What differs between versions; see the module's docstring."""

    version: str
    even_stages: bool
    known_pools: bool
    pools_at_once: bool
    joint_states: bool
    drafts_in_cell: bool
    drafts_scale_cell: bool
    dsa_drafts_apart: bool
    window_pool_of_requests: bool
    padding_state: bool
    largest_stage: bool
    dsa_rows: bool
    only_owners_index: bool
    sparse_auto_is_fp8: bool
    raw_on_blackwell: bool
    glm_rows_on_sm12: bool
    embeddings_set_aside: bool
    drafts: tuple[str, ...]


def rules_for(version: str | None) -> Rules:
    """The rules of a version; of the newest known one when none is named."""
    shown = version or NEWEST
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", shown.strip().lower())
    if match is None:
        raise UsageError(
            f"--engine-version {shown}: write a release of SGLang such as 0.5.9 "
            f"(newest known: {NEWEST})"
        )
    # "0.5" is the newest 0.5: its releases differ by their last number.
    number = tuple(int(part or 1000) for part in match.groups())
    return Rules(
        version=shown,
        even_stages=number >= (0, 5, 6),
        known_pools=number >= (0, 5, 7),
        pools_at_once=number >= (0, 5, 11),
        joint_states=number >= (0, 5, 13),
        drafts_in_cell=number >= (0, 5, 14),
        drafts_scale_cell=number < (0, 5, 22),
        dsa_drafts_apart=number >= (0, 5, 18),
        window_pool_of_requests=number >= (0, 5, 14),
        padding_state=number >= (0, 5, 17),
        largest_stage=number >= (0, 5, 17),
        dsa_rows=number >= (0, 5, 17),
        only_owners_index=number >= (0, 5, 18),
        sparse_auto_is_fp8=number >= (0, 5, 5),
        raw_on_blackwell=number >= (0, 5, 11),
        glm_rows_on_sm12=number >= (0, 5, 18),
        embeddings_set_aside=number >= (0, 5, 18),
        drafts=(
            "eagle",
            "eagle3",
            *(["dflash"] if number >= (0, 5, 10) else []),
            *(["dspark"] if number >= (0, 5, 15) else []),
            *(["domino", "dflash2"] if number >= (0, 5, 19) else []),
        ),
    )
