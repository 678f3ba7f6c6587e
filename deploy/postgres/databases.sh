#!/bin/sh
# Runs once, when the volume of PostgreSQL is empty: a database for each client, whose role can connect to no other.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username postgres << 'SQL'
REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC;
SQL
for name in mlflow predictions; do
    PASSWORD=$(sed -n 's/^password=//p' "/run/secrets/${name}_database")
    export PASSWORD
    psql --no-psqlrc --set ON_ERROR_STOP=1 --set name="$name" --username postgres << 'SQL'
\getenv password PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT, TEMPORARY ON DATABASE :"name" FROM PUBLIC;
SQL
done
