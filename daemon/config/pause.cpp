// SPDX-License-Identifier: Apache-2.0
#include "config/pause.hpp"

#include "base/strings.hpp"
#include "config/names.hpp"
#include "config/order_file.hpp"
#include "config/problems.hpp"
#include "config/raw_parts.hpp"
#include "config/reader.hpp"
#include "sys/file.hpp"
#include "sys/folder_lock.hpp"

#include <chrono>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::size_t kMaxPauseBytes = 1 << 20;
constexpr std::string_view kAnnotatedFile = "namespace-pauses.yaml";
constexpr std::size_t kMaxAnnotatedBytes = 16 << 20;  // a cluster can have 10,000 namespaces

Pause::Order readOrder(const MapReader& map) {
  return {readOrderTime(map, "since"), readOrderReason(map)};
}

Pause readOrders(const Place& place) {
  Pause pause;
  const MapReader map(place, {"apiVersion", "node", "namespaces"});
  if (!map.valid()) return pause;
  checkOrderVersion(map);
  if (const auto node = map.find("node")) {
    const MapReader order(*node, {"since", "reason", "removeStandIns"});
    pause.node = readOrder(order);
    order.read("removeStandIns", pause.withoutStandIns);
  }
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

std::string orderText(const Pause::Order& order) {
  const auto since = "since: " + orderScalar(rfc3339(order.since));
  return order.reason.empty() ? since : since + ", reason: " + orderScalar(order.reason);
}

std::string pauseText(const Pause& pause, std::string_view writer) {
  std::string text =
      "# Written by " + std::string(writer) + ".\napiVersion: " + std::string(kOrderVersion) + "\n";
  if (pause.node) {
    text +=
        "node: {" + orderText(*pause.node) + (pause.withoutStandIns ? ", removeStandIns: true" : "") + "}\n";
  }
  if (!pause.namespaces.empty()) text += "namespaces:\n";
  for (const auto& [name, order] : pause.namespaces) {
    text += "  - {name: " + orderScalar(name) + ", " + orderText(order) + "}\n";
  }
  return text;
}

Result<Pause> readOrdersFrom(const std::string& path, std::size_t maxBytes) {
  const auto text = sys::readFile(Stage::config, path, maxBytes);
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

}  // namespace

const Pause::Order* Pause::orderFor(const std::string& podNamespace) const {
  if (node) return &*node;
  for (const auto* const orders : {&namespaces, &annotated}) {
    if (const auto found = orders->find(podNamespace); found != orders->end()) return &found->second;
  }
  return nullptr;
}

std::string Pause::wayOut(const std::string& podNamespace) const {
  const bool byAnnotation = annotated.contains(podNamespace);
  const bool byCommand = node.has_value() || namespaces.contains(podNamespace);
  if (!byAnnotation) return "fallbackctl resume ends the pause";
  const auto command =
      "kubectl annotate namespace " + podNamespace + " " + std::string(kPauseAnnotation) + "-";
  return command + (byCommand ? " and fallbackctl resume end the pause" : " ends the pause");
}

std::size_t Pause::namespaceCount() const {
  auto count = namespaces.size();
  for (const auto& [name, order] : annotated) count += namespaces.contains(name) ? 0 : 1;
  return count;
}

Result<Pause> readPause(const std::string& stateFolder) {
  return readOrdersFrom(stateFolder + "/" + std::string(kPauseFile), kMaxPauseBytes);
}

Pause pauseOfDamaged(const std::string& problem, const Pause* before, Wall::time_point now) {
  Pause pause;
  pause.node = {std::chrono::floor<std::chrono::seconds>(now), "its file cannot be read: " + problem};
  pause.withoutStandIns = before == nullptr || before->withoutStandIns;
  return pause;
}

std::optional<std::string> pauseReasonIn(std::string_view annotation) {
  const auto words = trim(annotation);
  if (words.empty() || words == "false") return std::nullopt;
  if (words == "true") return std::string();
  auto reason = cleanUtf8(words, kMaxPauseReason);
  for (auto& c : reason) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < ' ') c = ' ';
  }
  return reason;
}

Result<Pause::Orders> readAnnotatedPauses(const std::string& stateFolder) {
  FB_TRY(auto pause, readOrdersFrom(stateFolder + "/" + std::string(kAnnotatedFile), kMaxAnnotatedBytes));
  return std::move(pause.namespaces);
}

Result<> writeAnnotatedPauses(const std::string& stateFolder, const Pause::Orders& orders) {
  FB_CHECK(sys::makeDirs(Stage::config, stateFolder, 0755));
  FB_TRY(const auto folder, sys::openDir(Stage::config, stateFolder));
  Pause pause;
  pause.namespaces = orders;
  return sys::replaceFile(Stage::config, folder, std::string(kAnnotatedFile),
                          pauseText(pause, "fallbackd: namespaces with the annotation fallbackd.io/pause"),
                          0644);
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
  FB_CHECK(sys::replaceFile(Stage::config, folder, std::string(kPauseFile),
                            pauseText(*pause, "fallbackctl pause and fallbackctl resume"), 0644));
  return pause;
}

}  // namespace fallbackd::config
