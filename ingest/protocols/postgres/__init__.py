"""PostgreSQL's protocol: bytes in, actions out.

Who uses whom, from the outside in:

    startup, asked, upstream_login, scram   the two logins, client's and server's
    session     one connection after them: the state that both halves share
      requests    the client's half, over `framing`; `repeats` takes what is commonest as a whole
        names       what the client's names stand for: `cursors`, `byname`
        admission   what is done when a statement may go on, and when it may not
        waiting     what is held for an approval: `holding`
      responses   the server's half; `answers` takes what is commonest as a whole
        results     what a masked client may see
        mistaken    what the server says of a text that must not run
      expected    the queue between them: what the server owes, of `executions`
      copying     what COPY does to its order
      bounds      what stops a statement that runs
    messages, parameters, values            how they are written
"""
