"""Several nodes: a login on any of them opens the relay on all. What travels, how it is signed, and by which way.

The parts, and how they are driven without a process, a clock or an engine of their own (as tests/sim/ does):

    watcher                                        link (a process of its own, link.py)
    -------                                        ------------------------------------
    watch/cluster.py: Member(node, run, ...)       outbound.py: Outbound(stream, me, offset, clock)
      outgoing(now) -> tuple[PeerEvent, ...]  ──────> send(events)               raises EngineError
      sent(now)       once `send` has returned
      dropped()       if it will not be sent       inbound.py: Inbound(stream, me, offset, clock, place)
      received(incoming, now)  <────────────────────  turn(block_ms) -> Incoming raises EngineError
      failed(half, word, text, now)  what an EngineError said; "" once it works again

- `stream` is any Stream (stream.py), `clock` gives epoch seconds of this node, `me` is a Sender (traffic.py), and
  `offset` an Offset (offset.py), which the two halves share.
- `outgoing` gives nothing while what it gave before is neither sent nor dropped. `now` is epoch seconds.
- `received` may raise StoreError: the same `incoming` is then handed in again. What it holds is entered in one
  transaction with `incoming.place`, the place in the stream up to which it was read; Member.place gives it back for
  the next Inbound. gaps.py says what is lost between a place and a stream.
- Times of events are by the clock of the node that holds them; on the way they are by the engine's (offset.py).
"""
