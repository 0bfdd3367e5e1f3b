#!/usr/bin/env bash
# Create an image, wait for it and download it. Needs bash and curl, and nothing else.
#
#   BASE_URL=http://127.0.0.1:8000 API_KEY=dk-live_... ./generate.sh image.png
set -euo pipefail

field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

created=$(curl --silent --show-error --location "$BASE_URL/api/image/gen" \
  --header "Content-Type: application/json" \
  --header "Authorization: Bearer $API_KEY" \
  --data '{
    "model": "google/gempix2",
    "prompt": "A tomato in a space suit, studio light",
    "aspect_ratio": "1:1",
    "image_size": "1k"
  }')
task_id=$(field task_id <<<"$created")
[ -n "$task_id" ] || { echo "$created" >&2; exit 1; }

for _ in $(seq 60); do
  task=$(curl --silent --show-error --get "$BASE_URL/api/task/query" \
    --data-urlencode "task_id=$task_id" \
    --header "Authorization: Bearer $API_KEY")
  case $(field status <<<"$task") in
    success) break ;;
    failed) field message <<<"$task" >&2; exit 1 ;;
  esac
  sleep 1
done

curl --silent --show-error --fail --output "$1" "$(field image <<<"$task")"
curl --silent --show-error "$BASE_URL/api/user" --header "Authorization: Bearer $API_KEY"
