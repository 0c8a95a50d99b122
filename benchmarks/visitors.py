"""A visitor without a browser: speaks Streamlit's own protocol, keeps the page, presses widgets.

It does what Streamlit's front end does on the wire: one websocket, a message per rerun with the
state of all widgets, ticks of fragments at the pace that the server asks for, and a download of
each image that the page shows for the first time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import numpy as np
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.Slider_pb2 import Slider
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

PATIENCE = 60.0  # seconds until an answer that does not come is an error
BUTTONS = ("button", "download_button")


class PageError(AssertionError):
    """The page raised, or the server did not answer."""


@dataclass
class Update:
    """An answered request: seconds from asking until the script was through.

    Attributes:
        kind: ``page``, ``click`` or ``tick``.
        seconds: how long it took.
        bytes: what came, images left out.
    """

    kind: str
    seconds: float
    bytes: int


@dataclass
class Visitor:
    """One open page.

    Attributes:
        url: of the server.
        updates: what it was answered, in order.
        elements: what stands on the page, by place.
        watch: called with each new text of the page.
        patience: seconds until an answer that does not come is an error.
    """

    url: str
    watch: Callable[[str], None] = lambda text: None
    patience: float = PATIENCE
    updates: list[Update] = field(default_factory=list)
    elements: dict[tuple[int, ...], Element] = field(default_factory=dict)
    expanders: dict[tuple[int, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._values: dict[str, WidgetState] = {}
        self._ticks: dict[str, asyncio.Task] = {}
        self._query, self._page, self._hash = "", "", ""
        self.session = ""
        self._images: set[str] = set()
        self._busy = asyncio.Lock()
        self._socket: ClientConnection | None = None

    async def __aenter__(self) -> Visitor:
        address = urlsplit(self.url)
        self._http = httpx.AsyncClient(base_url=self.url, timeout=self.patience)
        await self._http.get("/_stcore/health")  # its cookie has the token against forged requests
        self._socket = await connect(
            f"ws://{address.netloc}/_stcore/stream",
            subprotocols=["streamlit"],
            max_size=None,
            compression=None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._ticks.values():
            task.cancel()
        await asyncio.gather(*self._ticks.values(), return_exceptions=True)
        await self._socket.close()
        await self._http.aclose()

    # -- what a person does -------------------------------------------------------------------

    async def open(self, page: str, query: str = "") -> None:
        """Go to a page, ``"nice"`` say; an empty name is the front page."""
        self._page, self._query, self._hash = page, query, ""
        await self._ask("page")

    async def press(self, label: str) -> None:
        """Press a button by its label."""
        await self._click(WidgetState(id=self._button(label).id, trigger_value=True))

    async def put(self, content: bytes, name: str = "a.zip", file_id: str = "") -> tuple[str, int]:
        """Send a file as the uploader does; return its id and the status of the answer, or 0."""
        file_id = file_id or str(uuid.uuid4())
        path = f"/_stcore/upload_file/{self.session}/{file_id}"
        try:
            answer = await self._http.put(
                path, files={"file": (name, content)}, headers=self._token()
            )
        except httpx.TransportError:  # the door was shut before all was said
            return file_id, 0
        return file_id, answer.status_code

    async def upload(self, label: str, files: dict[str, bytes]) -> None:
        """Bring files to an uploader by the beginning of its label, and have the page read them."""
        found = [e.file_uploader for e in self.elements.values() if e.HasField("file_uploader")]
        widget = next(w for w in found if w.label.startswith(label))
        state = WidgetState(id=widget.id)
        for name, content in files.items():
            file_id, status = await self.put(content, name)
            if status != 204:
                raise PageError(f"{name} was not taken: {status}.")
            info = state.file_uploader_state_value.uploaded_file_info.add()
            info.file_id, info.name, info.size = file_id, name, len(content)
        await self._click(state)

    def _token(self) -> dict[str, str]:
        token = self._http.cookies.get("_streamlit_xsrf")
        return {"X-Xsrftoken": token} if token else {}

    async def press_anything(self, rng: np.random.Generator) -> str:
        """Use one of the widgets of the page in a way that its bounds allow; return which."""
        choices = [*self._usable(), *self.expanders.values()]
        if not choices:
            return ""
        chosen = choices[int(rng.integers(len(choices)))]
        if isinstance(chosen, str):
            opened = chosen in self._values and self._values[chosen].bool_value
            await self._click(WidgetState(id=chosen, bool_value=not opened))
            return chosen.rsplit("-", 1)[-1]
        await self._click(_changed(chosen, rng))
        kind = chosen.WhichOneof("type")
        return f"{kind} {getattr(chosen, kind).label}"

    async def press_all_parts(self, seen: set[str] | None = None) -> int:
        """Choose each option of each row of choices once, also of those that an option brings up.

        Args:
            seen: ids of the rows that have had their turn.

        Returns:
            How many options were chosen.
        """
        seen = set() if seen is None else seen
        fresh = [group for group in self._choices() if group.id not in seen]
        seen |= {group.id for group in fresh}
        chosen = 0
        for group in fresh:
            for option in group.options:
                state = WidgetState(id=group.id)
                state.string_array_value.data.append(option.content)
                await self._click(state)
                # What it brings up goes away with the next option.
                chosen += 1 + await self.press_all_parts(seen)
        return chosen

    def _choices(self) -> list:
        groups = [e.button_group for e in self.elements.values() if e.HasField("button_group")]
        return [group for group in groups if not group.disabled]

    @property
    def query(self) -> str:
        """The query of the page's address, as the page has set it."""
        return self._query

    def has(self, label: str) -> bool:
        """Return whether there is a button of this label that can be pressed."""
        with contextlib.suppress(PageError):
            return not self._button(label).disabled
        return False

    def texts(self) -> list[str]:
        """Return the Markdown of the page."""
        return [e.markdown.body for e in self.elements.values() if e.HasField("markdown")]

    # -- the protocol -------------------------------------------------------------------------

    def _button(self, label: str):
        for element in self.elements.values():
            if element.HasField("button") and element.button.label == label:
                return element.button
        raise PageError(f"There is no button {label!r} on /{self._page}.")

    def _usable(self) -> list[Element]:
        known = ("button", "slider", "checkbox", "selectbox", "button_group", "number_input")
        return [
            element
            for element in self.elements.values()
            if element.WhichOneof("type") in known
            and not getattr(element, element.WhichOneof("type")).disabled
        ]

    async def _click(self, state: WidgetState) -> None:
        trigger = state.WhichOneof("value") == "trigger_value"
        if not trigger:
            self._values[state.id] = state
        await self._ask("click", state if trigger else None)

    async def _ask(self, kind: str, trigger: WidgetState | None = None, fragment: str = "") -> None:
        async with self._busy:
            if fragment and fragment not in self._ticks:
                return
            message = BackMsg()
            rerun = message.rerun_script
            rerun.query_string, rerun.page_script_hash = self._query, self._hash
            if not self._hash:
                rerun.page_name = self._page
            rerun.fragment_id, rerun.is_auto_rerun = fragment, bool(fragment)
            rerun.widget_states.widgets.extend(self._values.values())
            if trigger is not None:
                rerun.widget_states.widgets.append(trigger)
            began = time.perf_counter()
            await self._socket.send(message.SerializeToString())
            size = await self._take_answer()
            self.updates.append(Update(kind, time.perf_counter() - began, size))
            await self._fetch_images()

    async def _take_answer(self) -> int:
        size = 0
        while True:
            try:
                data = await asyncio.wait_for(self._socket.recv(), self.patience)
            except TimeoutError:
                words = f"/{self._page} did not answer in {self.patience:g} s."
                raise PageError(words) from None
            size += len(data)
            message = ForwardMsg.FromString(data)
            kind = message.WhichOneof("type")
            if kind == "new_session":
                self.session = message.new_session.initialize.session_id or self.session
                self._begin(message)
            elif kind == "navigation":
                self._hash = message.navigation.page_script_hash
            elif kind == "delta":
                self._put(tuple(message.metadata.delta_path), message.delta)
            elif kind == "page_info_changed":
                self._query = message.page_info_changed.query_string
            elif kind == "auto_rerun":
                self._start_ticking(message.auto_rerun)
            elif kind == "stop_auto_rerun":
                self._stop_ticking(message.stop_auto_rerun.fragment_ids)
            elif kind == "session_event" and message.session_event.HasField(
                "script_compilation_exception"
            ):
                raise PageError(message.session_event.script_compilation_exception.message)
            # A script that is asked to run again at once says that it has finished early.
            elif (
                kind == "script_finished"
                and message.script_finished != message.FINISHED_EARLY_FOR_RERUN
            ):
                return size

    def _begin(self, message: ForwardMsg) -> None:
        if not message.metadata.run.fragment_ids:  # the whole page is drawn
            self.elements.clear()
            self.expanders.clear()
            self._stop_ticking(list(self._ticks))

    def _put(self, path: tuple[int, ...], delta) -> None:
        kind = delta.WhichOneof("type")
        if kind == "add_block":
            for known in [place for place in self.elements if place[: len(path)] == path]:
                del self.elements[known]
            if delta.add_block.HasField("expandable") and delta.add_block.id:
                self.expanders[path] = delta.add_block.id
        elif kind == "new_element":
            element = delta.new_element
            self.elements[path] = element
            if element.HasField("exception"):
                error = element.exception
                raise PageError(f"{error.type}: {error.message} {list(error.stack_trace)[-2:]}")
            if element.HasField("markdown"):
                self.watch(element.markdown.body)
            if element.HasField("imgs"):
                self._images |= {img.url for img in element.imgs.imgs if img.url.startswith("/")}

    def _start_ticking(self, order) -> None:
        async def tick() -> None:
            mine = asyncio.current_task()
            while self._ticks.get(order.fragment_id) is mine:
                await asyncio.sleep(order.interval)
                await self._ask("tick", fragment=order.fragment_id)

        if order.fragment_id not in self._ticks:
            self._ticks[order.fragment_id] = asyncio.create_task(tick())

    def _stop_ticking(self, fragments) -> None:
        for fragment in fragments:
            task = self._ticks.pop(fragment, None)
            # One that has just asked ends by itself: its answer is on the way.
            if task is not None and task is not asyncio.current_task():
                task.cancel()

    def failed(self) -> BaseException | None:
        """Return what a tick ran into, if one did."""
        for task in self._ticks.values():
            if task.done() and not task.cancelled() and task.exception():
                return task.exception()
        return None

    async def _fetch_images(self) -> None:
        fresh, self._images = self._images, set()
        for path in fresh:
            # One that has been replaced meanwhile is gone, as for a browser.
            with contextlib.suppress(httpx.HTTPError):
                await self._http.get(path)


def _changed(element: Element, rng: np.random.Generator) -> WidgetState:
    """Return a state of a widget, drawn at random from what it offers."""
    kind = element.WhichOneof("type")
    widget = getattr(element, kind)
    state = WidgetState(id=widget.id)
    if kind in BUTTONS:
        state.trigger_value = True
    elif kind == "checkbox":
        state.bool_value = bool(rng.integers(2))
    elif kind == "selectbox":
        state.string_value = widget.options[int(rng.integers(len(widget.options)))]
    elif kind == "button_group":
        options = [option.content for option in widget.options]
        state.string_array_value.data.append(options[int(rng.integers(len(options)))])
    elif kind == "number_input":
        low = widget.min if widget.has_min else 0
        high = widget.max if widget.has_max else low + 100
        state.double_value = float(round(rng.uniform(low, min(high, low + 1000))))
    elif widget.type == Slider.SELECT_SLIDER:
        state.string_array_value.data.append(widget.options[int(rng.integers(len(widget.options)))])
    else:
        steps = max(round((widget.max - widget.min) / (widget.step or 1)), 1)
        for _ in widget.default:
            value = widget.min + widget.step * int(rng.integers(steps + 1))
            state.double_array_value.data.append(min(value, widget.max))
    return state
