// SPDX-License-Identifier: Apache-2.0
#include "domain/image_reference.hpp"

#include "domain/ascii.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace fallbackd {

namespace {

constexpr std::string_view kDockerHub = "docker.io";
constexpr std::string_view kOldDockerHub = "index.docker.io";
constexpr std::string_view kOfficial = "library/";
constexpr std::string_view kDefaultTag = "latest";

constexpr std::size_t kMaxPath = 255;
constexpr std::size_t kMaxTag = 128;
constexpr std::size_t kMaxHost = 253 + 6;  // a DNS name, a colon and a port
// No reference within the limits above is longer.
constexpr std::size_t kMaxText = kMaxHost + kMaxPath + kMaxTag + 160;

constexpr bool isUpper(char c) {
  return c >= 'A' && c <= 'Z';
}
constexpr bool isLetterOrDigit(char c) {
  return isLower(c) || isUpper(c) || isDigit(c);
}
constexpr bool isLowerHex(char c) {
  return isDigit(c) || (c >= 'a' && c <= 'f');
}

template <class Test>
bool allOf(std::string_view text, Test test) {
  return std::all_of(text.begin(), text.end(), test);
}

/// Letters, digits and dashes, no dash at either end.
bool isHostLabel(std::string_view text) {
  return !text.empty() && text.front() != '-' && text.back() != '-' &&
         allOf(text, [](char c) { return isLetterOrDigit(c) || c == '-'; });
}

/// Runs of a-z and 0-9, separated by ".", "_", "__" or any number of dashes.
bool isPathComponent(std::string_view text) {
  if (text.empty() || !isLowerOrDigit(text.front()) || !isLowerOrDigit(text.back())) return false;
  for (std::size_t at = 0; at < text.size();) {
    if (isLowerOrDigit(text[at])) {
      ++at;
      continue;
    }
    const auto end = std::min(text.find_first_not_of(text[at], at), text.size());
    const auto run = end - at;
    const bool fits = text[at] == '-' || (text[at] == '.' && run == 1) || (text[at] == '_' && run <= 2);
    if (!fits || !isLowerOrDigit(text[end])) return false;
    at = end;
  }
  return true;
}

bool isIpv6InBrackets(std::string_view text) {
  return text.size() > 2 && text.front() == '[' && text.back() == ']' &&
         allOf(text.substr(1, text.size() - 2),
               [](char c) { return isLowerHex(c) || (c >= 'A' && c <= 'F') || c == ':'; });
}

/// The name and the port ("" if absent) of a host. Colons inside brackets belong to the address.
std::pair<std::string_view, std::string_view> splitPort(std::string_view host) {
  const auto colon = host.find(':', host.starts_with('[') ? std::min(host.find(']'), host.size()) : 0);
  if (colon == std::string_view::npos) return {host, {}};
  return {host.substr(0, colon), host.substr(colon)};
}

bool isHost(std::string_view text) {
  // containerd recognises a host by its dot, and validates it like a part of the path.
  if (isPathComponent(text)) return true;
  const auto [name, port] = splitPort(text);
  if (!port.empty() && (port.size() < 2 || !allOf(port.substr(1), isDigit))) return false;
  if (isIpv6InBrackets(name)) return true;
  const auto labels = split(name, '.');
  return std::all_of(labels.begin(), labels.end(), isHostLabel);
}

/// Whether the first part of a name is a registry rather than the first folder of a path on Docker Hub.
bool namesHost(std::string_view first) {
  return first == "localhost" || first.find_first_of(".:") != std::string_view::npos ||
         std::any_of(first.begin(), first.end(), isUpper);
}

bool isTag(std::string_view text) {
  const auto isWord = [](char c) { return isLetterOrDigit(c) || c == '_'; };
  return !text.empty() && text.size() <= kMaxTag && isWord(text.front()) &&
         allOf(text, [&](char c) { return isWord(c) || c == '.' || c == '-'; });
}

bool isDigest(std::string_view text) {
  constexpr std::array kAlgorithms{std::pair{std::string_view("sha256:"), std::size_t{64}},
                                   std::pair{std::string_view("sha384:"), std::size_t{96}},
                                   std::pair{std::string_view("sha512:"), std::size_t{128}}};
  return std::any_of(kAlgorithms.begin(), kAlgorithms.end(), [&](const auto& one) {
    return text.starts_with(one.first) && text.size() == one.first.size() + one.second &&
           allOf(text.substr(one.first.size()), isLowerHex);
  });
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (isUpper(c)) c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

tl::unexpected<Error> refuse(std::string_view text, const std::string& why, const std::string& wayOut) {
  return fail(Stage::config, Reason::invalid,
              quoted(text) + " is not an image reference: " + why + " (" + wayOut + ")");
}

}  // namespace

bool sameImage(std::string_view left, std::string_view right) {
  const auto a = ImageReference::parse(left);
  const auto b = ImageReference::parse(right);
  return a && b && *a == *b;
}

bool isRepositoryPath(std::string_view text) {
  const auto parts = split(text, '/');
  return text.size() <= kMaxPath && std::all_of(parts.begin(), parts.end(), isPathComponent);
}

Result<std::string> parseRegistryHost(std::string_view text) {
  if (text.empty() || text.size() > kMaxHost || !isHost(text)) {
    return fail(Stage::config, Reason::invalid,
                quoted(text) + " is not HOST or HOST:PORT (leave out the scheme and the path)");
  }
  return std::string(text == kOldDockerHub ? kDockerHub : text);
}

Result<ImageReference> ImageReference::parse(std::string_view text) {
  if (text.empty()) return refuse(text, "it is empty", "write HOST/PATH:TAG");
  if (text.size() > kMaxText) {
    return refuse(text, "it has " + std::to_string(text.size()) + " characters", "shorten it");
  }
  if (text.find("://") != std::string_view::npos)
    return refuse(text, "it begins with a scheme", "leave out the scheme");
  if (isSha256(text))
    return refuse(text, "it is the id of an image, not its name", "write HOST/PATH@sha256:DIGEST");

  ImageReference out;
  std::string_view rest = text;
  out.host_ = kDockerHub;
  if (const auto slash = text.find('/');
      slash != std::string_view::npos && namesHost(text.substr(0, slash))) {
    const auto host = text.substr(0, slash);
    if (host.size() > kMaxHost || !isHost(host)) {
      return refuse(text, "its host " + quoted(host) + " is not a valid host",
                    "write a name or an address, an IPv6 address in brackets, and :PORT where it has one");
    }
    if (host != kOldDockerHub) out.host_ = host;
    rest = text.substr(slash + 1);
  }
  const auto at = rest.find('@');
  const auto name = rest.substr(0, at);
  const auto colon = name.find(':');
  const auto path = name.substr(0, colon);
  // Only Docker Hub has repositories without a folder.
  if (out.host_ == kDockerHub && path.find('/') == std::string_view::npos) out.path_ = kOfficial;
  out.path_ += path;

  if (std::any_of(path.begin(), path.end(), isUpper)) {
    return refuse(text, "the repository " + quoted(path) + " must be lower case",
                  "write " + quoted(lower(path)));
  }
  if (out.path_.size() > kMaxPath) {
    return refuse(text, "its repository is longer than " + std::to_string(kMaxPath) + " characters",
                  "shorten it");
  }
  if (!isRepositoryPath(out.path_)) {
    return refuse(text, "the repository " + quoted(path) + " is not valid",
                  "write a-z and 0-9, with . _ - inside and / between the parts");
  }
  if (colon != std::string_view::npos) {
    if (!isTag(name.substr(colon + 1))) {
      return refuse(text, "its tag " + quoted(name.substr(colon + 1)) + " is not valid",
                    "write at most 128 of A-Z a-z 0-9 _ . -, the first neither . nor -");
    }
    out.tag_ = name.substr(colon + 1);
  }
  if (at != std::string_view::npos) {
    if (!isDigest(rest.substr(at + 1))) {
      return refuse(text, "its digest " + quoted(rest.substr(at + 1)) + " is not valid",
                    "write sha256: and 64 lower-case hexadecimal digits");
    }
    out.digest_ = rest.substr(at + 1);
  }
  if (out.tag_.empty() && out.digest_.empty()) out.tag_ = kDefaultTag;
  return out;
}

std::string ImageReference::hostName() const {
  auto name = splitPort(host_).first;
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  return std::string(name);
}

std::string ImageReference::toString() const {
  return repository() + (digest_.empty() ? ":" + tag_ : "@" + digest_);
}

bool ImageReference::isBelow(std::string_view prefix) const {
  return path_ == prefix ||
         (path_.size() > prefix.size() && path_[prefix.size()] == '/' && path_.starts_with(prefix));
}

}  // namespace fallbackd
