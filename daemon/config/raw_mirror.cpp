// SPDX-License-Identifier: Apache-2.0
#include "base/clock.hpp"
#include "base/strings.hpp"
#include "config/names.hpp"
#include "config/raw_parts.hpp"
#include "domain/image_reference.hpp"

#include <utility>

namespace fallbackd::config {

namespace {

void readMirrorListen(const MapReader& map, std::optional<std::string>& out) {
  std::string listen = "off";
  if (!map.read("listen", listen) || listen == "off") return;
  if (!isSocketAddress(listen)) {
    map.problem("listen", quoted(listen) + " is not ADDRESS:PORT", "write 127.0.0.1:478 or \"off\"");
  } else if (!isLoopbackAddress(listen)) {
    map.problem("listen", quoted(listen) + " can be reached from outside: the mirror has the node's images",
                "write an address on loopback: 127.0.0.1:478 or [::1]:478");
  } else {
    out = std::move(listen);
  }
}

void readServeCached(const MapReader& map, MirrorSettings& out) {
  std::string cached = "always";
  if (!map.read("cached", cached)) return;
  if (cached == "always") {
    out.cached = ServeCached::always;
  } else if (cached == "never") {
    out.cached = ServeCached::never;
  } else if (const auto age = parseDuration(cached); age && age->count() > 0) {
    out.cached = ServeCached::up_to_age;
    out.maxAge = *age;
  } else {
    map.problem("cached", quoted(cached) + " is neither always, never nor a duration", "write 72h");
  }
}

/// "HOST" or "HOST/PATH"; empty if it is neither.
std::string imagesBelow(std::string_view text) {
  const auto slash = text.find('/');
  const auto host = parseRegistryHost(text.substr(0, slash));
  if (!host) return {};
  if (slash == std::string_view::npos) return *host;
  const auto path = text.substr(slash + 1);
  return isRepositoryPath(path) ? *host + "/" + std::string(path) : std::string();
}

}  // namespace

void readMirror(const Place& place, MirrorSettings& out) {
  const MapReader map(place, {"listen", "tokenFile", "hostsDir", "cached", "images"});
  readMirrorListen(map, out.listen);
  map.absolutePath("tokenFile", out.tokenFile);
  map.absolutePath("hostsDir", out.hostsDir);
  readServeCached(map, out);
  if (const auto list = map.find("images")) {
    eachItem(*list, [&](const Place& item) {
      const auto text = scalar(item, "a registry, or a path on it");
      if (!text) return;
      auto below = imagesBelow(*text);
      if (below.empty()) {
        item.problem(quoted(*text) + " is neither HOST nor HOST/PATH",
                     "write registry.example.com or registry.example.com/shop, without a tag");
      } else {
        out.images.push_back(std::move(below));
      }
    });
  }
}

}  // namespace fallbackd::config
