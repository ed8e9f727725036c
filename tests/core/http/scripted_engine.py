"""An engine without a model that speaks the wire protocol and does what a prompt's first token tells it to.

Any other prompt is echoed, one token per iteration. `Stats.preemptions` counts aborts, so a test can see them.
Run by the server under test as `python -m tests.core.http.scripted_engine FD`.
"""

from __future__ import annotations

import os
import sys
import time

from systems.core.engine_pipe import EnginePipe
from systems.core.request import Request
from systems.core.wire import (
    NO_TOKEN,
    Abort,
    Died,
    Emission,
    Emitted,
    EngineFacts,
    Ready,
    Rejected,
    Reset,
    ResetDone,
    Stats,
    Stop,
    Submit,
    ToEngine,
)

VOCAB = 1000
VANISH, DIE, REFUSE, HANG, BREAK, OOM = 900, 901, 902, 903, 904, 905


class Scripted:
    def __init__(self, pipe: EnginePipe, pause: float) -> None:
        self.pipe = pipe
        self.pause = pause
        self.live: dict[int, tuple[Request, int]] = {}
        self.aborts = 0
        self.going = True

    def run(self) -> None:
        while self.going:
            for message in self.pipe.inbox(self.pause if self.live else None):
                self.take(message)
            if batch := self.iterate():
                self.pipe.outbox(Emitted(batch))

    def take(self, message: ToEngine) -> None:
        if isinstance(message, Submit):
            self.submit(message.request)
        elif isinstance(message, Abort):
            self.live.pop(message.id, None)
            self.aborts += 1
            self.pipe.outbox(Stats(running=len(self.live), preemptions=self.aborts))
        elif isinstance(message, Reset):
            self.pipe.outbox(ResetDone(ok=message.event_log != "refuse", reason="told to refuse"))
        elif isinstance(message, Stop):
            self.going = False

    def submit(self, request: Request) -> None:
        what = request.prompt[0]
        if what == VANISH:
            os._exit(3)
        if what == DIE:
            self.pipe.outbox(Died("told to die", 4))
            time.sleep(60)
        if what == REFUSE:
            self.pipe.outbox(Rejected(request.id, 503, "server_error", "told to refuse"))
        else:
            self.live[request.id] = (request, 0)

    def iterate(self) -> list[Emission]:
        batch: list[Emission] = []
        for ident, (request, done) in list(self.live.items()):
            what = request.prompt[0]
            if what == HANG:
                continue
            finish = "length" if done + 1 >= request.sampling.max_tokens else None
            if what in {BREAK, OOM} and done == 2:
                why = "error: out of memory" if what == OOM else "error: told to break"
                batch.append((ident, NO_TOKEN, why))
                finish = why
            else:
                batch.append((ident, request.prompt[done % len(request.prompt)], finish))
            self.live[ident] = (request, done + 1)
            if finish:
                del self.live[ident]
        return batch


def main() -> None:
    pipe = EnginePipe(int(sys.argv[1]))
    config = pipe.start().config
    if config.variant == "never-loads":
        time.sleep(60)
    if config.variant == "cannot-load":
        pipe.outbox(Died("told not to load", 4))
        return
    pipe.outbox(Ready(EngineFacts(10, 20, config.max_model_len, VOCAB, pid=os.getpid(), compute={"kind": "scripted"})))
    Scripted(pipe, float(config.settings.get("pause", 0.001))).run()


if __name__ == "__main__":
    main()
