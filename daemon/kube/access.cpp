// SPDX-License-Identifier: Apache-2.0
#include "kube/access.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"

#include <charconv>

namespace fallbackd::kube {

namespace {

constexpr std::size_t kMaxCredentialBytes = 1UL << 20;

std::string bracketed(const std::string& host) {
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

}  // namespace

std::string Url::authority() const {
  return bracketed(host) + ":" + std::to_string(port);
}

Result<Url> parseUrl(std::string_view text) {
  const auto wrong = [&](std::string_view why) {
    return fail(Stage::kube, Reason::invalid, "server " + quoted(text) + ": " + std::string(why));
  };
  constexpr std::string_view kScheme = "https://";
  if (!text.starts_with(kScheme)) return wrong("only https:// is supported");
  auto rest = text.substr(kScheme.size());
  if (rest.find_first_of("@?# \t") != std::string_view::npos) {
    return wrong("user names, queries and spaces are not supported");
  }
  Url url;
  const auto slash = rest.find('/');
  if (slash != std::string_view::npos) url.basePath = rest.substr(slash);
  while (url.basePath.ends_with('/')) url.basePath.pop_back();
  auto authority = rest.substr(0, slash);
  std::string_view port;
  if (authority.starts_with('[')) {
    const auto end = authority.find(']');
    if (end == std::string_view::npos) return wrong("the bracket is not closed");
    url.host = authority.substr(1, end - 1);
    authority.remove_prefix(end + 1);
    if (!authority.empty() && authority.front() != ':')
      return wrong("the text after the bracket is not a port");
    if (!authority.empty()) port = authority;
  } else {
    const auto colon = authority.find(':');
    url.host = authority.substr(0, colon);
    if (colon != std::string_view::npos) port = authority.substr(colon);
  }
  if (url.host.empty()) return wrong("it names no host");
  if (!port.empty()) {
    port.remove_prefix(1);
    const auto* const end = port.data() + port.size();
    const auto parsed = std::from_chars(port.data(), end, url.port);
    if (parsed.ec != std::errc() || parsed.ptr != end || url.port == 0)
      return wrong("the port is not a port");
  }
  return url;
}

Result<Access> inClusterAccess(const std::function<std::string(const char*)>& environment,
                               const std::string& folder) {
  const auto host = environment("KUBERNETES_SERVICE_HOST");
  const auto port = environment("KUBERNETES_SERVICE_PORT");
  if (host.empty() || port.empty()) {
    return fail(Stage::kube, Reason::not_found,
                "this is not a pod (KUBERNETES_SERVICE_HOST is not set), and no kubeconfig is configured");
  }
  Access access;
  FB_TRY(access.server, parseUrl("https://" + bracketed(host) + ":" + port));
  access.authorities.file = folder + "/ca.crt";
  access.token.file = folder + "/token";
  return access;
}

Result<std::string> contentOf(const FileOrText& source, std::string_view what) {
  if (source.file.empty()) return source.text;
  auto content = sys::readFile(Stage::kube, source.file, kMaxCredentialBytes);
  if (!content) content.error().context = std::string(what) + ": " + content.error().context;
  return content;
}

}  // namespace fallbackd::kube
