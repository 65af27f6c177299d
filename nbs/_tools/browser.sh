#!/usr/bin/env bash
# What only the tests of the site need: Chromium, its driver and npm. Installs them as root on Debian; elsewhere says how to get them. Never fails.
need=()
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || need+=(chromium)
command -v chromedriver >/dev/null || need+=(chromium-driver)
command -v npm >/dev/null || need+=(npm)
((${#need[@]})) || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing ${need[*]}, for the tests of the site"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null && exit 0
fi
echo "The tests of the site will be skipped: they need ${need[*]} (Debian: apt-get install ${need[*]})"
