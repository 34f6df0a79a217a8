// SPDX-License-Identifier: Apache-2.0
#include "config/pause.hpp"

#include "base/strings.hpp"
#include "config/names.hpp"
#include "config/problems.hpp"
#include "config/raw_parts.hpp"
#include "config/reader.hpp"
#include "sys/file.hpp"
#include "sys/folder_lock.hpp"

#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::string_view kPauseVersion = "fallbackd.io/v1";
constexpr std::size_t kMaxPauseBytes = 1 << 20;

Pause::Order readOrder(const MapReader& map) {
  Pause::Order order;
  std::string since;
  static_cast<void>(map.require("since", "2027-01-31T08:30:00Z"));
  if (map.read("since", since)) {
    const auto when = parseDate(since);
    if (when) {
      order.since = *when;
    } else {
      map.problem("since", quoted(since) + " is not a date and time", "write 2027-01-31T08:30:00Z");
    }
  }
  map.read("reason", order.reason);
  if (order.reason.size() > kMaxPauseReason) {
    map.problem("reason", "has more than " + std::to_string(kMaxPauseReason) + " bytes");
  }
  return order;
}

Pause readOrders(const Place& place) {
  Pause pause;
  const MapReader map(place, {"apiVersion", "node", "namespaces"});
  if (!map.valid()) return pause;
  static_cast<void>(map.require("apiVersion", kPauseVersion));
  std::string version;
  if (map.read("apiVersion", version) && version != kPauseVersion) {
    map.problem("apiVersion", quoted(version) + " is not known", "write " + std::string(kPauseVersion));
  }
  if (const auto node = map.find("node")) pause.node = readOrder(MapReader(*node, {"since", "reason"}));
  const auto list = map.find("namespaces");
  if (!list) return pause;
  eachItem(*list, [&](const Place& item) {
    const MapReader entry(item, {"name", "since", "reason"});
    if (!entry.valid()) return;
    std::string name;
    static_cast<void>(entry.require("name", "shop"));
    readDnsLabel(entry, "name", name);
    auto order = readOrder(entry);
    if (!name.empty() && !pause.namespaces.emplace(name, std::move(order)).second) {
      entry.problem("name", "namespace " + quoted(name) + " is named twice", "keep one of them");
    }
  });
  return pause;
}

/// A scalar that YAML reads as this very text.
std::string yamlText(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') out += '\'';
    out += c;
  }
  return out + "'";
}

std::string orderText(const Pause::Order& order) {
  const auto since = "since: " + yamlText(rfc3339(order.since));
  return order.reason.empty() ? since : since + ", reason: " + yamlText(order.reason);
}

std::string pauseText(const Pause& pause) {
  std::string text =
      "# Written by fallbackctl pause and fallbackctl resume.\napiVersion: " + std::string(kPauseVersion) +
      "\n";
  if (pause.node) text += "node: {" + orderText(*pause.node) + "}\n";
  if (!pause.namespaces.empty()) text += "namespaces:\n";
  for (const auto& [name, order] : pause.namespaces) {
    text += "  - {name: " + yamlText(name) + ", " + orderText(order) + "}\n";
  }
  return text;
}

}  // namespace

const Pause::Order* Pause::orderFor(const std::string& podNamespace) const {
  if (node) return &*node;
  const auto found = namespaces.find(podNamespace);
  return found == namespaces.end() ? nullptr : &found->second;
}

Result<Pause> readPause(const std::string& stateFolder) {
  const auto path = stateFolder + "/" + std::string(kPauseFile);
  const auto text = sys::readFile(Stage::config, path, kMaxPauseBytes);
  if (!text && text.error().reason == Reason::not_found) return Pause{};
  if (!text) return tl::unexpected<Error>(text.error());
  Problems problems;
  Pause pause;
  if (const auto document = parseDocument(path, *text, problems)) {
    pause = readOrders({&*document, path, "", &problems});
  }
  const auto found = problems.take();
  if (!found.empty()) return fail(Stage::config, Reason::invalid, found.front().toString());
  return pause;
}

Result<Pause> changePause(const std::string& stateFolder, const std::function<void(Pause&)>& change,
                          Damaged damaged) {
  FB_CHECK(sys::makeDirs(Stage::config, stateFolder, 0755));
  FB_TRY(const auto folder, sys::openDir(Stage::config, stateFolder));
  FB_CHECK(sys::lockFolder(Stage::config, folder, stateFolder));
  auto pause = readPause(stateFolder);
  if (!pause && (damaged == Damaged::keep || pause.error().reason != Reason::invalid)) return pause;
  if (!pause) pause.emplace();
  change(*pause);
  FB_CHECK(sys::replaceFile(Stage::config, folder, std::string(kPauseFile), pauseText(*pause), 0644));
  return pause;
}

}  // namespace fallbackd::config
