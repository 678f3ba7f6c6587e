#!/bin/sh
# Writes the secrets of the compose files to a folder, deploy/secrets by default. What exists is kept, so a second call changes nothing.
#
#   sh deploy/secrets.sh
set -eu
folder=${1:-$(dirname "$0")/secrets}

# 256 random bits.
random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

sha256() {
    if command -v sha256sum > /dev/null; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1
}

# write NAME: standard input becomes the file, unless there is one.
write() {
    [ -e "$folder/$1" ] || { cat > "$folder/$1.part" && mv "$folder/$1.part" "$folder/$1" && echo "wrote $folder/$1"; }
}

# Only the owner enters the folder. The files are readable, because the users in the containers have other numbers.
umask 022
mkdir -p "$folder/keys"
chmod 700 "$folder"

random | write grafana_admin_password
random | write postgres_password
random | write jupyter_token
printf 'vg_%s' "$(random)" | write prometheus_key
# The service keeps the hash of a key only.
printf 'prometheus:%s\n' "$(sha256 < "$folder/prometheus_key")" | write keys/keys
# Services in the sense of PostgreSQL's clients: where a database is, and how to log in.
database() {
    printf '[%s]\nhost=%s\ndbname=%s\nuser=%s\npassword=%s\n' "$1" "$2" "$1" "$1" "$(random)" | write "$1_database"
}
database mlflow postgres
database predictions postgres
database airflow airflow-postgres
printf '[default]\naws_access_key_id=mlflow\naws_secret_access_key=%s\n' "$(random)" | write s3_credentials
# Of Airflow: the password of its user, and the keys of its stored connections, of its sessions, and of its tasks' tokens.
printf '{"admin": "%s"}\n' "$(random)" | write airflow_passwords
head -c 32 /dev/urandom | base64 | tr '+/' '-_' | write airflow_fernet_key
random | write airflow_api_key
random | write airflow_jwt_key
