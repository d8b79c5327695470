-- What was asked never changes, how it stands does, and every change has its row in `history`.
CREATE TABLE approvals (
    id             TEXT PRIMARY KEY,
    -- SHA-256 of everything but the items that a grant is bound to; see ledger.rs.
    scope          BLOB NOT NULL,
    -- Digest of the cause set.
    cause          BLOB NOT NULL,
    person         TEXT NOT NULL,
    role           TEXT NOT NULL,
    endpoint       TEXT NOT NULL,
    model          TEXT NOT NULL,
    rule           TEXT NOT NULL,
    rule_digest    BLOB NOT NULL,
    policy_digest  BLOB NOT NULL,
    covers         TEXT NOT NULL CHECK (covers IN ('content', 'exchange')),
    approvers      TEXT NOT NULL,
    grant_s        INTEGER NOT NULL,
    remember_s     INTEGER NOT NULL,
    pending_s      INTEGER NOT NULL,
    findings       TEXT NOT NULL,
    -- Masked; NULL once it was erased, its digest stays.
    content        TEXT,
    content_sha256 BLOB NOT NULL,
    -- Bytes that were asked with; more than `content` has if it was cut.
    content_bytes  INTEGER NOT NULL,
    asked_at       INTEGER NOT NULL,

    state          TEXT NOT NULL CHECK (state IN
        ('cancelled', 'consumed', 'expired', 'granted', 'pending', 'refused', 'revoked')),
    version        INTEGER NOT NULL,
    ends_at        INTEGER NOT NULL,
    decided_at     INTEGER,
    decided_by     TEXT,
    reason         TEXT,
    redeemed_at    INTEGER
) STRICT;

CREATE UNIQUE INDEX approvals_live ON approvals (scope, cause) WHERE state IN ('pending', 'granted');
CREATE INDEX approvals_scope ON approvals (scope, state);
CREATE INDEX approvals_ends ON approvals (ends_at) WHERE state IN ('pending', 'granted');
CREATE INDEX approvals_state ON approvals (state, asked_at);
CREATE INDEX approvals_person ON approvals (person, state);

CREATE TRIGGER approvals_asked_once
BEFORE UPDATE OF id, scope, cause, person, role, endpoint, model, rule, rule_digest, policy_digest,
    covers, approvers, grant_s, remember_s, pending_s, findings, content_sha256, content_bytes, asked_at
ON approvals
BEGIN SELECT RAISE(ABORT, 'what was asked never changes'); END;

CREATE TRIGGER approvals_content_erased BEFORE UPDATE OF content ON approvals
WHEN NEW.content IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'content can only be erased'); END;

CREATE TRIGGER approvals_kept BEFORE DELETE ON approvals
BEGIN SELECT RAISE(ABORT, 'approvals are kept'); END;

-- The items of a cause set, by digest.
CREATE TABLE items (
    digest   BLOB NOT NULL,
    approval TEXT NOT NULL REFERENCES approvals (id),
    PRIMARY KEY (digest, approval)
) STRICT, WITHOUT ROWID;

CREATE INDEX items_approval ON items (approval);

CREATE TRIGGER items_unchanged BEFORE UPDATE ON items
BEGIN SELECT RAISE(ABORT, 'what was asked never changes'); END;

CREATE TRIGGER items_kept BEFORE DELETE ON items
BEGIN SELECT RAISE(ABORT, 'what was asked never changes'); END;

-- Approvals that were granted because others cover all their items, and those others.
CREATE TABLE leans (
    approval TEXT NOT NULL REFERENCES approvals (id),
    parent   TEXT NOT NULL REFERENCES approvals (id),
    PRIMARY KEY (parent, approval)
) STRICT, WITHOUT ROWID;

-- Everything that ever happened, each row with the hash over itself and the row before; history.rs.
CREATE TABLE history (
    number   INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    approval TEXT NOT NULL REFERENCES approvals (id),
    event    TEXT NOT NULL CHECK (event IN ('asked', 'cancelled', 'consumed', 'expired', 'granted',
        'joined', 'redeemed', 'refused', 'revoked', 'viewed')),
    who      TEXT NOT NULL,
    exchange TEXT NOT NULL,
    note     TEXT NOT NULL,
    -- How the approval stood afterwards, and until when.
    state    TEXT NOT NULL,
    ends_at  INTEGER NOT NULL,
    hash     BLOB NOT NULL
) STRICT;

CREATE INDEX history_approval ON history (approval, event, exchange);
CREATE INDEX history_revoked ON history (number) WHERE event = 'revoked';

CREATE TRIGGER history_in_order BEFORE INSERT ON history
WHEN NEW.number IS NOT (SELECT COALESCE(MAX(number), 0) + 1 FROM history)
BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER history_unchanged BEFORE UPDATE ON history
BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER history_kept BEFORE DELETE ON history
BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

-- One row: whose desk this is.
CREATE TABLE desk (
    deployment TEXT NOT NULL
) STRICT;
