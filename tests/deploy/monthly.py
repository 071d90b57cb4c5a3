"""What a month of a deployment is billed for, and what that costs: pure. The month has 730 hours."""

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
LISTED = json.loads((HERE / "list_prices.json").read_text())
PRICES = LISTED["prices"]
HOURS = 730
MINUTES = HOURS * 60
POLLS = MINUTES
# An environment of a function that is invoked every minute lives for about two hours.
COLD_STARTS = HOURS // 2


def usd(usage, with_free_tier):
    """Of so much of each priced thing, by the name of its price."""
    return {name: max(0, amount - (PRICES[name]["free"] if with_free_tier else 0)) * PRICES[name]["usd"] for name, amount in usage.items()}


def idle_polls(cold_ms, warm_ms, memory_mb):
    """Invocations and GB-seconds of the polls of a month that find nothing to do."""
    seconds = (COLD_STARTS * cold_ms + (POLLS - COLD_STARTS) * warm_ms) / 1000
    return {"invocation": POLLS, "gb_second": seconds * memory_mb / 1024}
