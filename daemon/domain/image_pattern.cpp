// SPDX-License-Identifier: Apache-2.0
#include "domain/image_pattern.hpp"

#include "base/strings.hpp"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

namespace fallbackd {

namespace {

constexpr std::size_t kMaxPattern = 1024;
constexpr std::array<std::string_view, 2> kHubAliases{"index.docker.io", "registry-1.docker.io"};

struct Host {
  std::vector<std::string> parts;
  std::string port;
};

/// Colons inside the brackets of an IPv6 address do not begin a port.
Host splitHost(std::string_view host) {
  const auto bracket = host.rfind(']');
  const auto colon = host.rfind(':');
  Host out;
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    out.port = host.substr(colon + 1);
    host = host.substr(0, colon);
  }
  for (const auto part : split(host, '.')) out.parts.emplace_back(part);
  return out;
}

/// * stands for any characters.
bool globMatches(std::string_view glob, std::string_view text) {
  std::size_t g = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (t < text.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      resume = t;
    } else if (g < glob.size() && glob[g] == text[t]) {
      ++g;
      ++t;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return glob.find_first_not_of('*', g) == std::string_view::npos;
}

bool isOfHost(char c) {
  const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return letter || isDigit(c) || std::string_view("-._*:[]").find(c) != std::string_view::npos;
}

}  // namespace

Result<ImagePattern> ImagePattern::parse(std::string_view text) {
  const auto refuse = [&] {
    return fail(
        Stage::config, Reason::invalid,
        quoted(text) + " is not a pattern for images (write HOST[:PORT][/PATH], * for a part of HOST)");
  };
  if (text.size() > kMaxPattern) return refuse();
  ImagePattern out;
  out.text_ = text;
  auto rest = text;
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (rest.starts_with(scheme)) rest.remove_prefix(scheme.size());
  }
  const auto slash = std::min(rest.find('/'), rest.size());
  auto host = rest.substr(0, slash);
  auto path = rest.substr(slash);
  if (host.empty() || !std::all_of(host.begin(), host.end(), isOfHost)) return refuse();
  for (const std::string_view version : {"/v1", "/v2"}) {
    if (path == version || (path.starts_with(version) && path[version.size()] == '/')) {
      path.remove_prefix(version.size());
      break;
    }
  }
  if (path == "/") path = {};
  if (std::find(kHubAliases.begin(), kHubAliases.end(), host) != kHubAliases.end()) host = "docker.io";
  auto [parts, port] = splitHost(host);
  out.hostParts_ = std::move(parts);
  out.port_ = std::move(port);
  out.path_ = path;
  return out;
}

bool ImagePattern::matches(const ImageReference& reference) const {
  const auto [parts, port] = splitHost(reference.host());
  return port == port_ && parts.size() == hostParts_.size() &&
         std::equal(hostParts_.begin(), hostParts_.end(), parts.begin(), globMatches) &&
         ("/" + reference.path()).starts_with(path_);
}

bool ImagePattern::endsAtFolder(const ImageReference& reference) const {
  if (path_.empty() || path_.ends_with('/')) return true;
  const auto path = "/" + reference.path();
  return path.size() == path_.size() || path[path_.size()] == '/';
}

std::optional<std::size_t> bestMatch(std::span<const ImagePattern> patterns,
                                     const ImageReference& reference) {
  const auto rank = [&](const ImagePattern& one) {
    return std::tuple(one.endsAtFolder(reference), one.path_.size(),
                      one.text_.find('*') == std::string::npos);
  };
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    if (!patterns[i].matches(reference)) continue;
    if (!best || rank(patterns[i]) > rank(patterns[*best])) best = i;
  }
  return best;
}

}  // namespace fallbackd
