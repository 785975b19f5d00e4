-- Integers are two's complement of the protocol's u64. Blobs are BCS unless their column says otherwise.
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE channels (
    stack BLOB PRIMARY KEY,
    terms BLOB NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0,
    settle_until_ms INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE admitted (
    stack BLOB NOT NULL,
    nonce INTEGER NOT NULL,
    request_hash BLOB NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (stack, nonce)
) WITHOUT ROWID;

-- What another node signed that passed a request on to this one.
CREATE TABLE forwards (
    stack BLOB NOT NULL,
    request_hash BLOB NOT NULL,
    forward BLOB NOT NULL,
    PRIMARY KEY (stack, request_hash)
) WITHOUT ROWID;

CREATE TABLE receipts (
    stack BLOB NOT NULL,
    count INTEGER NOT NULL,
    receipt BLOB NOT NULL,
    PRIMARY KEY (stack, count)
) WITHOUT ROWID;

CREATE TABLE vouchers (
    stack BLOB PRIMARY KEY,
    count INTEGER NOT NULL,
    voucher BLOB NOT NULL
) WITHOUT ROWID;

-- outcome is NULL until it is known.
CREATE TABLE settlements (
    id BLOB PRIMARY KEY,
    signed_transaction BLOB NOT NULL,
    outcome TEXT
) WITHOUT ROWID;

-- What it takes to reveal a record; the oldest go first when the bound is reached.
CREATE TABLE records (
    sequence INTEGER PRIMARY KEY,
    stack BLOB NOT NULL,
    count INTEGER NOT NULL,
    request BLOB NOT NULL,
    body BLOB NOT NULL,
    response BLOB NOT NULL,
    prompt_ids BLOB NOT NULL,
    output_ids BLOB NOT NULL
);
CREATE UNIQUE INDEX records_by_leaf ON records (stack, count);
