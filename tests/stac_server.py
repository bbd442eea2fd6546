"""A STAC API on this machine, as its specification tells: a landing page, and searches by POST, page by page."""

import contextlib
import http.server
import json
from collections.abc import Iterator, Sequence

from local_server import running

CONFORMANCE = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]


def item(number: int, collection: str) -> dict:
    """An item of one degree, with a sun."""
    west = float(number)
    ring = [[west, 0.0], [west + 1, 0.0], [west + 1, 1.0], [west, 1.0], [west, 0.0]]
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": f"{collection}-{number}", "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": [west, 0.0, west + 1, 1.0], "links": [],
        "properties": {"datetime": f"2015-06-{1 + number:02d}T00:00:00Z", "view:sun_elevation": 30.0 + number},
        "assets": {"image": {"href": f"https://images.invalid/{collection}/{number}.tif", "roles": ["data"]}},
    }  # fmt: skip


class Api(http.server.ThreadingHTTPServer):
    """Serves items, so many on a page.

    Attributes:
        searches: Bodies of the searches that were asked for.
    """

    daemon_threads = True

    def __init__(self, items: Sequence[dict], page: int):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.items, self.page, self.searches = list(items), page, list[dict]()

    @property
    def address(self) -> str:
        """Its landing page."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Api

    def do_GET(self):
        links = [
            {"rel": "root", "href": self.server.address, "type": "application/json"},
            {"rel": "self", "href": self.server.address, "type": "application/json"},
            *(
                {"rel": "search", "href": self.server.address + "search", "type": "application/geo+json", "method": way}
                for way in ("GET", "POST")
            ),
        ]
        landing = {"type": "Catalog", "stac_version": "1.0.0", "id": "api", "description": "An API.", "links": links}
        self.answer({**landing, "conformsTo": CONFORMANCE} if self.path == "/" else None)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.searches.append(asked)
        chosen = [x for x in self.server.items if x["collection"] in asked.get("collections", [x["collection"]])]
        first = asked.get("token", 0)
        shown, links = chosen[first : first + self.server.page], []
        if first + self.server.page < len(chosen):
            body = {**asked, "token": first + self.server.page}
            links = [{"rel": "next", "href": self.server.address + "search", "method": "POST", "body": body}]
        self.answer({"type": "FeatureCollection", "features": shown, "links": links})

    def answer(self, content: dict | None):
        body = json.dumps(content or {"code": "NotFound"}).encode()
        self.send_response(200 if content else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


@contextlib.contextmanager
def stac_api(items: Sequence[dict], page: int) -> Iterator[Api]:
    """The API while the block runs."""
    with running(Api(items, page)) as server:
        yield server
