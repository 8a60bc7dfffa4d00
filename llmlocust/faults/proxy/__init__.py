"""The fault proxy: an asyncio process between load and server, which breaks connections and answers on request.

`faults` describes a fault and reads it from text (pure). `server` listens and sets faults, with the state of `settings`.
`connections` forward bytes, `links` shape one direction, and `exchanges` follow single requests, with the parsers of
`messages`. `control` reads commands, and `process` runs all of it as a child of another program.
"""
