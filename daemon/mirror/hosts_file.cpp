// SPDX-License-Identifier: Apache-2.0
#include "mirror/hosts_file.hpp"

#include "base/strings.hpp"
#include "mirror/toml.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <charconv>
#include <sys/stat.h>
#include <utility>

namespace fallbackd::mirror {

namespace {

bool isLocal(std::string_view host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

std::string absolute(const std::string& folder, const std::string& path) {
  return path.starts_with('/') ? path : folder + "/" + path;
}

/// `ca` and `client` are a string, a list, or a list of pairs.
void addFiles(const toml::node* node, const std::string& folder, std::vector<std::string>& files) {
  if (node == nullptr) return;
  if (const auto* text = node->as_string()) files.push_back(absolute(folder, text->get()));
  if (const auto* list = node->as_array()) {
    for (const auto& one : *list) {
      if (const auto* text = one.as_string()) files.push_back(absolute(folder, text->get()));
      if (const auto* pair = one.as_array(); pair != nullptr) addFiles(pair, folder, files);
    }
  }
}

/// Without the key containerd asks a host for everything.
bool isPulledFrom(const toml::table& table) {
  const auto* list = table["capabilities"].as_array();
  return list == nullptr || std::any_of(list->begin(), list->end(), [](const toml::node& one) {
           const auto word = one.value_or(std::string_view());
           return word == "pull" || word == "resolve";
         });
}

void readTrust(const toml::table& table, const std::string& folder, Upstream& out) {
  addFiles(table.get("ca"), folder, out.ca);
  out.skipVerify = table["skip_verify"].value_or(false);
  std::vector<std::string> client;
  addFiles(table.get("client"), folder, client);
  if (!client.empty()) out.certificate = out.key = client[0];
  if (client.size() > 1) out.key = client[1];
}

}  // namespace

std::string Upstream::authority() const {
  const auto name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  const bool usual = port == (tls ? 443 : 80);
  return usual ? name : name + ":" + std::to_string(port);
}

std::optional<Upstream> upstreamOf(std::string_view url, bool overridePath) {
  Upstream upstream;
  if (url.starts_with("http://")) {
    upstream.tls = false;
    upstream.port = 80;
    url.remove_prefix(7);
  } else if (url.starts_with("https://")) {
    url.remove_prefix(8);
  } else if (url.find("://") != std::string_view::npos) {
    return std::nullopt;
  }
  const auto slash = std::min(url.find('/'), url.size());
  auto authority = url.substr(0, slash);
  auto path = url.substr(slash);
  while (path.ends_with('/')) path.remove_suffix(1);
  if (!overridePath && !path.ends_with("/v2")) {
    upstream.path = std::string(path) + "/v2";
  } else {
    upstream.path = path;
  }
  const auto colon = authority.rfind(':');
  if (colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos) {
    const auto digits = authority.substr(colon + 1);
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), upstream.port);
    if (code != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    authority = authority.substr(0, colon);
  }
  if (authority.starts_with('[') && authority.ends_with(']')) {
    authority = authority.substr(1, authority.size() - 2);
  }
  const auto plain = [](unsigned char c) { return c > ' ' && c < 0x7f && c != '@' && c != '?' && c != '#'; };
  if (authority.empty() || !std::all_of(authority.begin(), authority.end(), plain) ||
      !std::all_of(upstream.path.begin(), upstream.path.end(), plain)) {
    return std::nullopt;
  }
  upstream.host = authority;
  return upstream;
}

Upstream defaultUpstream(const std::string& registry) {
  const auto plain = upstreamOf("http://" + registry).value_or(Upstream{});
  if (isLocal(plain.host)) return plain;
  return upstreamOf("https://" + (registry == "docker.io" ? "registry-1.docker.io" : registry))
      .value_or(Upstream{});
}

Result<std::vector<Upstream>> parseHosts(std::string_view text, const std::string& folder,
                                         const std::string& registry) {
  FB_TRY(const auto root, parseToml(text, folder + "/hosts.toml"));
  std::vector<std::pair<std::uint32_t, Upstream>> found;  // by line
  const auto* hosts = root["host"].as_table();
  for (const auto& [url, node] : hosts == nullptr ? toml::table() : *hosts) {
    const auto* table = node.as_table();
    if (table == nullptr) continue;
    if (!isPulledFrom(*table)) continue;
    auto upstream = upstreamOf(url.str(), (*table)["override_path"].value_or(false));
    if (!upstream) continue;
    readTrust(*table, folder, *upstream);
    found.emplace_back(url.source().begin.line, std::move(*upstream));
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Upstream> all;
  for (auto& [line, upstream] : found) all.push_back(std::move(upstream));
  const auto server = root["server"].value_or(std::string());
  auto last = server.empty() ? std::optional(defaultUpstream(registry))
                             : upstreamOf(server, root["override_path"].value_or(false));
  if (!last) return fail(Stage::config, Reason::invalid, folder + "/hosts.toml: server is not a URL");
  readTrust(root, folder, *last);
  all.push_back(std::move(*last));
  return all;
}

std::vector<std::string> hostsFolders(const std::string& root, const std::string& registry) {
  std::vector<std::string> folders;
  const auto colon = registry.rfind(':');
  if (colon != std::string::npos && colon > 0) {
    folders.push_back(root + "/" + registry.substr(0, colon) + "_" + registry.substr(colon + 1) + "_");
  }
  folders.push_back(root + "/" + registry);
  folders.push_back(root + "/_default");
  return folders;
}

Result<std::vector<Upstream>> upstreamsFor(const std::string& root, const std::string& registry) {
  for (const auto& folder : hostsFolders(root, registry)) {
    struct stat facts {};
    if (::stat(folder.c_str(), &facts) != 0) continue;
    const auto text = sys::readFile(Stage::config, folder + "/hosts.toml", kMaxHostsFile);
    if (!text && text.error().reason == Reason::not_found) break;
    if (!text) return tl::unexpected<Error>(text.error());
    return parseHosts(*text, folder, registry);
  }
  return std::vector{defaultUpstream(registry)};
}

}  // namespace fallbackd::mirror
