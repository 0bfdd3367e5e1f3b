#!/usr/bin/env bash
# Send an image as a data URI, from a file: it may be larger than a command line.
#
#   BASE_URL=http://127.0.0.1:8000 API_KEY=dk-live_... ./upload.sh photo.png
set -euo pipefail

{
  printf '{"model":"google/gempix2","prompt":"the same in winter","images":["data:image/png;base64,'
  base64 <"$1" | tr -d '\n'
  printf '"]}'
} | curl --silent --show-error "$BASE_URL/api/image/gen" \
  --header "Content-Type: application/json" \
  --header "Authorization: Bearer $API_KEY" \
  --data-binary @-
