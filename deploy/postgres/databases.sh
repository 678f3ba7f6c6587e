#!/bin/sh
# Runs once, when the volume of PostgreSQL is empty: a database for each client whose secret is mounted, and whose role can connect to no
# other.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username postgres << 'SQL'
REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC;
SQL
for file in /run/secrets/*_database; do
    name=$(basename "$file" _database)
    PASSWORD=$(sed -n 's/^password=//p' "$file")
    export PASSWORD
    psql --no-psqlrc --set ON_ERROR_STOP=1 --set name="$name" --username postgres << 'SQL'
\getenv password PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT, TEMPORARY ON DATABASE :"name" FROM PUBLIC;
SQL
done
