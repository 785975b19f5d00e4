CREATE TABLE keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE, last4 TEXT NOT NULL, name TEXT NOT NULL,
    budget INTEGER, disabled INTEGER NOT NULL DEFAULT 0, created_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE usage (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key INTEGER NOT NULL REFERENCES keys (id), at_ms INTEGER NOT NULL,
    model TEXT NOT NULL, node INTEGER NOT NULL, stack TEXT NOT NULL, input INTEGER NOT NULL,
    output INTEGER NOT NULL, units INTEGER NOT NULL, cost INTEGER NOT NULL, receipt BLOB NOT NULL
) STRICT;
CREATE INDEX usage_of ON usage (key, id);
CREATE TABLE totals (
    key INTEGER PRIMARY KEY, requests INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL,
    units INTEGER NOT NULL, cost INTEGER NOT NULL
) STRICT;
CREATE TRIGGER usage_totals AFTER INSERT ON usage BEGIN
    INSERT INTO totals VALUES (NEW.key, 1, NEW.input, NEW.output, NEW.units, NEW.cost)
    ON CONFLICT (key) DO UPDATE SET
        requests = requests + 1, input = input + excluded.input, output = output + excluded.output,
        units = units + excluded.units, cost = cost + excluded.cost;
END;
CREATE TABLE reservations (
    id INTEGER PRIMARY KEY, key INTEGER NOT NULL, most INTEGER NOT NULL, model TEXT NOT NULL,
    stack BLOB NOT NULL, node INTEGER NOT NULL, request_hash BLOB NOT NULL, price INTEGER NOT NULL
) STRICT;
INSERT INTO keys (hash, last4, name, budget, created_ms) VALUES (zeroblob(32), 'last', 'old', 100, 5);
INSERT INTO usage (key, at_ms, model, node, stack, input, output, units, cost, receipt)
    VALUES (1, 6, 'm', 1, '0x3', 1, 2, 3, 25, x'00');
INSERT INTO reservations VALUES (4, 1, 40, 'm', zeroblob(32), 1, zeroblob(32), 7);
