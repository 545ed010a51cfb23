#!/bin/sh
# Prints what gives ClickHouse its roles (users.sql, beside this file) and one user for each. The environment has their passwords; only
# hashes are printed, so no query log has one. To be run again with every release, and after a password has changed: it is repeatable.
set -eu
hash() { printf %s "$1" | sha256sum | cut -d " " -f 1; }
user() {
    cat <<END
CREATE USER IF NOT EXISTS $1 IDENTIFIED WITH sha256_hash BY '$(hash "$2")';
ALTER USER $1 IDENTIFIED WITH sha256_hash BY '$(hash "$2")';
GRANT affidavit_$1 TO $1;
ALTER USER $1 DEFAULT ROLE affidavit_$1;
END
}
: "${MIGRATOR_PASSWORD:?}" "${WRITER_PASSWORD:?}" "${READER_PASSWORD:?}" "${AUDITOR_PASSWORD:?}"
cat "$(dirname "$0")/users.sql"
user migrator "$MIGRATOR_PASSWORD"
user writer "$WRITER_PASSWORD"
user reader "$READER_PASSWORD"
user auditor "$AUDITOR_PASSWORD"
