#!/bin/sh
# Certificates for development, in a folder `certificates` beside this file: an authority of your own, a
# certificate for localhost, and one for a client that is called robot. Good for 90 days.
set -eu
cd "$(dirname "$0")"
mkdir -p certificates
cd certificates
curve='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'

# shellcheck disable=SC2086 # the words of $curve are arguments
{
  openssl req -x509 $curve -days 90 -subj /CN=development -out ca.pem -keyout ca.key
  openssl req -x509 $curve -days 90 -subj /CN=localhost -CA ca.pem -CAkey ca.key \
    -addext basicConstraints=critical,CA:FALSE \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -out site.pem -keyout site.key
  openssl req -x509 $curve -days 90 -subj /CN=robot -CA ca.pem -CAkey ca.key \
    -addext basicConstraints=critical,CA:FALSE -out robot.pem -keyout robot.key
} 2> /dev/null
chmod 600 ./*.key
