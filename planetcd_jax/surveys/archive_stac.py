"""Items of STAC: a catalogue in files, or an API."""

import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from planetcd_jax.errors import DataError
from planetcd_jax.extras import brought_by


def local_items(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Items of a STAC catalogue in files: links that are followed are relative, and lead to children and items."""
    waiting, seen = [path.resolve()], set()
    while waiting:
        here = waiting.pop(0)
        if here in seen:
            continue
        seen.add(here)
        try:
            found = json.loads(here.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{here} cannot be read as STAC ({error}); fetch the catalogue again.") from None
        if not isinstance(found, dict):
            raise DataError(f"{here} is no STAC catalogue, collection or item.")
        if found.get("type") == "Feature":
            yield {**found, "_folder": os.fspath(here.parent)}
        elif found.get("type") == "FeatureCollection":
            yield from ({**item, "_folder": os.fspath(here.parent)} for item in found.get("features", ()))
        for link in found.get("links", ()):
            if link.get("rel") in ("child", "item") and "://" not in link["href"] and found.get("type") != "Feature":
                waiting.append((here.parent / link["href"]).resolve())


def remote_items(address: str) -> Iterator[dict[str, Any]]:
    """Items of a STAC API or of a catalogue on a server; an address may end in ?collections=A,B."""
    with brought_by("survey"):
        from pystac_client import Client
        from pystac_client.exceptions import APIError

    address, _, asked = address.partition("?collections=")
    try:
        client = Client.open(address)
        chosen = asked.split(",") if asked else None
        items = (
            client.search(collections=chosen).items()
            if client.conforms_to("ITEM_SEARCH")
            else client.get_items(recursive=True)
        )
        for item in items:
            yield item.to_dict()
    except (APIError, OSError, ValueError) as error:
        raise DataError(
            f"{address} cannot be read as STAC ({str(error).splitlines()[0]}); check the address."
        ) from None


def asset(item: Mapping[str, Any]) -> str | None:
    """Address of the image of an item: the asset with the role data, else the first that is an image."""
    assets = list(item.get("assets", {}).values())
    image = [
        a
        for a in assets
        if str(a.get("type", "image/")).startswith("image/") and "thumbnail" not in (a.get("roles") or ())
    ]
    chosen = [a for a in image if "data" in (a.get("roles") or ())] or image
    return chosen[0]["href"] if chosen else None
