// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/pack_place.hpp"

#include "base/strings.hpp"

#include <array>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>

namespace fallbackd::ctl {

namespace {

namespace fs = std::filesystem;

bool isThere(const std::string& path) {
  std::error_code failed;
  return fs::exists(path, failed);
}

PackPlace localPlace(const std::string& path, const std::string& tag) {
  std::error_code failed;
  const bool archive = fs::is_regular_file(path, failed);
  std::string image = archive ? "oci-archive:" : "oci:";
  image.append(path);
  if (!tag.empty()) image.append(":").append(tag);
  return {PackPlace::Kind::local, path, tag, std::move(image)};
}

/// PATH or PATH:TAG, if the path is there.
std::optional<PackPlace> findLocal(const std::string& text) {
  if (isThere(text)) return localPlace(text, "");
  const auto colon = text.rfind(':');
  if (colon == std::string::npos || text.find('/', colon) != std::string::npos) return std::nullopt;
  const auto path = text.substr(0, colon);
  if (colon + 1 == text.size() || !isThere(path)) return std::nullopt;
  return localPlace(path, text.substr(colon + 1));
}

/// Whether an image's name begins with a registry's: a host with a dot or a port, or localhost.
bool namesRegistry(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  const auto host = text.substr(0, slash);
  return host == "localhost" || host.find_first_of(".:") != std::string_view::npos;
}

}  // namespace

Result<PackPlace> packPlace(const std::string& text) {
  for (const std::string_view transport : {"oci:", "oci-archive:"}) {
    if (!text.starts_with(transport)) continue;
    const auto rest = text.substr(transport.size());
    if (auto place = findLocal(rest)) return std::move(*place);
    return fail(Stage::cli, Reason::not_found, "there is no " + rest);
  }
  if (auto place = findLocal(text)) return std::move(*place);
  if (text.starts_with('/') || text.starts_with('.')) {
    return fail(Stage::cli, Reason::not_found, "there is no " + text);
  }
  for (const std::string_view transport : {"docker://", "dir:", "docker-archive:", "containers-storage:"}) {
    if (text.starts_with(transport)) return PackPlace{PackPlace::Kind::elsewhere, "", "", text};
  }
  if (namesRegistry(text)) return PackPlace{PackPlace::Kind::elsewhere, "", "", "docker://" + text};
  return fail(Stage::cli, Reason::usage,
              fallbackd::quoted(text) +
                  " is not a pack on this machine (PATH or LAYOUT:TAG), and names no registry, as in "
                  "registry.example.com/shop/fallback-pack:1.8.3");
}

}  // namespace fallbackd::ctl
