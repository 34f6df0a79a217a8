// SPDX-License-Identifier: Apache-2.0
#include "mirror/hosts_edit.hpp"

#include "base/strings.hpp"
#include "mirror/hosts_file.hpp"
#include "mirror/toml.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <system_error>

namespace fallbackd::mirror {

namespace {

constexpr std::string_view kBegin = "# fallbackd mirror: begin";
constexpr std::string_view kEnd = "# fallbackd mirror: end";
constexpr std::string_view kMode = "mode=";
constexpr std::string_view kHost = "[host.\"http://";
constexpr std::size_t kMaxFolders = 1024;
constexpr std::string_view kNoNewline = "joined";  // the file did not end with a line end

std::string blockText(const HostsBlock& block, std::string_view joined) {
  const auto url = "\"http://" + block.address + "\"";
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", block.mode & 07777U);
  return std::string(kBegin) + " (fallbackctl mirror disable removes it; " + std::string(kMode) + mode +
         std::string(joined) + ")\n[host." + url + "]\n  capabilities = [\"pull\", \"resolve\"]\n[host." +
         url + ".header]\n  authorization = \"Bearer " + block.token + "\"\n" + std::string(kEnd) + "\n";
}

/// Where the line that begins with `word` begins; npos if there is none.
std::size_t lineWith(std::string_view text, std::string_view word, std::size_t from = 0) {
  for (auto at = text.find(word, from); at != std::string_view::npos; at = text.find(word, at + 1)) {
    if (at == 0 || text[at - 1] == '\n') return at;
  }
  return std::string_view::npos;
}

std::size_t startOfLine(std::string_view text, std::uint32_t line) {
  std::size_t at = 0;
  for (std::uint32_t i = 1; i < line && at < text.size(); ++i) {
    const auto end = text.find('\n', at);
    if (end == std::string_view::npos) return text.size();
    at = end + 1;
  }
  return at;
}

/// The first line of any host; 0 without one.
std::uint32_t firstHostLine(const toml::table& root) {
  const auto* hosts = root["host"].as_table();
  if (hosts == nullptr) return 0;
  std::uint32_t first = hosts->source().begin.line;
  for (const auto& [url, node] : *hosts) {
    const auto line = url.source().begin.line;
    if (line != 0) first = first == 0 ? line : std::min(first, line);
  }
  return first;
}

/// The tables are the same, except for our host.
bool isSame(toml::table before, toml::table after, const std::string& url) {
  for (auto* table : {&before, &after}) {
    auto* hosts = (*table)["host"].as_table();
    if (hosts == nullptr) continue;
    hosts->erase(url);
    if (hosts->empty()) table->erase("host");
  }
  return before == after;
}

}  // namespace

std::optional<unsigned> modeBefore(std::string_view text) {
  const auto begin = lineWith(text, kBegin);
  if (begin == std::string_view::npos) return std::nullopt;
  const auto line = text.substr(begin, text.find('\n', begin) - begin);
  const auto at = line.find(kMode);
  unsigned mode = 0644;
  if (at != std::string_view::npos) {
    std::from_chars(line.data() + at + kMode.size(), line.data() + line.size(), mode, 8);
  }
  return mode & 07777U;
}

std::string addressInBlock(std::string_view text) {
  const auto begin = lineWith(text, kBegin);
  if (begin == std::string_view::npos) return {};
  const auto host = lineWith(text, kHost, begin);
  if (host == std::string_view::npos || host > lineWith(text, kEnd, begin)) return {};
  const auto address = text.substr(host + kHost.size());
  return std::string(address.substr(0, address.find('"')));
}

std::set<std::string> addressesInBlocks(const std::string& root) {
  std::set<std::string> addresses;
  std::error_code error;
  std::size_t folders = 0;
  for (std::filesystem::directory_iterator one(root, error), end; !error && one != end;
       one.increment(error)) {
    if (++folders > kMaxFolders) break;
    const auto text = sys::readFile(Stage::config, one->path().string() + "/hosts.toml", kMaxHostsFile);
    auto address = text ? addressInBlock(*text) : std::string();
    if (!address.empty()) addresses.insert(std::move(address));
  }
  return addresses;
}

Result<std::string> withoutBlock(std::string_view text, const std::string& file) {
  const auto begin = lineWith(text, kBegin);
  const auto end = lineWith(text, kEnd, begin == std::string_view::npos ? 0 : begin);
  if (begin == std::string_view::npos && end == std::string_view::npos) return std::string(text);
  if (begin == std::string_view::npos || end == std::string_view::npos) {
    return fail(
        Stage::config, Reason::invalid,
        file + ": one of the two comments around the mirror's block is missing; remove the block by hand");
  }
  const auto firstLine = text.substr(begin, text.find('\n', begin) - begin);
  const auto after = std::min(text.find('\n', end), text.size() - 1) + 1;
  std::string rest(text.substr(0, begin));
  // Anything that was appended since needs the newline.
  const bool atEnd = after >= text.size();
  if (atEnd && firstLine.find(kNoNewline) != std::string_view::npos && rest.ends_with('\n')) rest.pop_back();
  return rest.append(text.substr(after));
}

Result<std::string> withBlock(std::string_view text, const HostsBlock& block, Order order,
                              const std::string& file) {
  FB_TRY(auto clean, withoutBlock(text, file));
  FB_TRY(auto before, parseToml(clean, file));
  const auto url = "http://" + block.address;
  if (before["host"][url]) {
    return fail(Stage::config, Reason::already_exists,
                file + " already has " + url + ", which fallbackctl did not add: remove it there first");
  }
  const auto line = order == Order::first ? firstHostLine(before) : 0;
  const auto at = line == 0 ? clean.size() : startOfLine(clean, line);
  const bool joined = at == clean.size() && !clean.empty() && !clean.ends_with('\n');
  std::string result = clean.substr(0, at);
  if (joined) result += '\n';
  result += blockText(block, joined ? ", " + std::string(kNoNewline) : std::string());
  result += clean.substr(at);
  auto after = parseToml(result, file);
  if (!after || !(*after)["host"][url] || !isSame(std::move(before), std::move(*after), url)) {
    return fail(Stage::config, Reason::invalid,
                file +
                    " is written in a way that leaves no place for another host; use tables: "
                    "[host.\"https://...\"]");
  }
  const auto undone = withoutBlock(result, file);
  if (!undone || *undone != clean) {
    return fail(Stage::config, Reason::internal, file + ": the change could not be undone");
  }
  return result;
}

Result<RegistryConfig> parseContainerdConfig(std::string_view text, const std::string& file) {
  FB_TRY(const auto root, parseToml(text, file));
  RegistryConfig found;
  found.version = root["version"].value_or(1);
  for (const auto* plugin : {"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"}) {
    const auto registry = root["plugins"][plugin]["registry"];
    for (const auto folder : split(registry["config_path"].value_or(std::string_view()), ':')) {
      if (!folder.empty()) found.configPath.emplace_back(folder);
    }
    const auto* mirrors = registry["mirrors"].as_table();
    found.hasMirrors = found.hasMirrors || (mirrors != nullptr && !mirrors->empty());
  }
  if (const auto* imports = root["imports"].as_array()) {
    for (const auto& one : *imports) {
      if (const auto* path = one.as_string()) found.imports.push_back(path->get());
    }
  }
  return found;
}

std::string configPathLines(int version, const std::string& folder) {
  const std::string plugin = version >= 3 ? "io.containerd.cri.v1.images" : "io.containerd.grpc.v1.cri";
  return "[plugins.\"" + plugin + "\".registry]\n  config_path = \"" + folder + "\"\n";
}

}  // namespace fallbackd::mirror
