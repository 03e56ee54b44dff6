#!/bin/sh
# Creates the password of the database once, in two formats: `password` for the database when it
# creates its cluster, and `pgpass` for libpq in every client.
#
# usage: deploy/secrets.sh FOLDER HOST DATABASE USER
set -eu
cd "$1"
[ ! -e password ] || exit 0
umask 377
password=$(head -c 32 /dev/urandom | od -A n -t x1 | tr -d ' \n')
rm -f pgpass password.new
echo "$2:*:$3:$4:$password" >pgpass
echo "$password" >password.new
# Renamed last, in one step: if `password` exists, both files are complete.
mv password.new password
