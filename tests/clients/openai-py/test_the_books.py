"""Runs last: what the gateway charged is, stack by stack, what the nodes booked."""

from conftest import GATEWAY, GATEWAY_KEY, eventually, get, settled_channel


def test_all_books_agree(way):
    """Whichever way was used last: what went past the gateway is none of its business."""

    def paid():
        usage = get(f"{GATEWAY}/usage?limit=1000", GATEWAY_KEY)
        return usage if usage["reserved"] == 0 else None

    used = eventually("paid", paid)
    assert used["next"] is None and used["totals"]["requests"] == len(used["data"]) > 0
    channels = {}
    for row in used["data"]:
        channels.setdefault((row["stack"], str(row["node"])), []).append(row["units"])
    for (stack, node), units in channels.items():
        books = settled_channel({"x-atoma-stack": stack, "x-atoma-node": node})
        assert (books["total_units"], books["available"]) == (sum(units), books["granted"] - sum(units))
    assert sum(row["cost"] for row in used["data"]) == used["spent"] == used["totals"]["cost"]
