// SPDX-License-Identifier: Apache-2.0
#include "mirror/last_seen.hpp"

#include "sys/file.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::mirror {

namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

// A pull that the mirror answers has ended by then, and containerd has recorded it.
constexpr auto kLongestPull = 1h;
// The time of serving changes with every pull: it need not be exact on disk.
constexpr auto kServedStep = 5min;
constexpr std::size_t kMaxFileBytes = 1 << 20;

std::optional<Wall::time_point> timeAt(const json::object& object, const char* key) {
  const auto* value = object.if_contains(key);
  const auto* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::nullopt : parseRfc3339({text->data(), text->size()});
}

}  // namespace

Result<> LastSeen::load() {
  if (file_.empty()) return {};
  const auto text = sys::readFile(Stage::config, file_, kMaxFileBytes);
  if (!text && text.error().reason == Reason::not_found) return {};
  if (!text) return tl::unexpected<Error>(text.error());
  boost::json::error_code error;
  const auto root = json::parse(*text, error);
  if (error || !root.is_object()) return fail(Stage::config, Reason::invalid, file_ + " is damaged");
  for (const auto& [name, value] : root.get_object()) {
    const auto* object = value.if_object();
    const auto at = object == nullptr ? std::nullopt : timeAt(*object, "served");
    if (!at || entries_.size() >= kMaxNames) continue;
    entries_[std::string(name)] = {timeAt(*object, "seen"), *at, timeAt(*object, "passedOn")};
  }
  return {};
}

Result<> LastSeen::save() const {
  if (file_.empty()) return {};
  json::object root;
  for (const auto& [name, entry] : entries_) {
    json::object one{{"served", rfc3339(entry.served)}};
    if (entry.seen) one["seen"] = rfc3339(*entry.seen);
    if (entry.passedOn) one["passedOn"] = rfc3339(*entry.passedOn);
    root[name] = std::move(one);
  }
  const std::filesystem::path path(file_);
  FB_CHECK(sys::makeDirs(Stage::config, path.parent_path().string(), 0755));
  FB_TRY(const auto folder, sys::openDir(Stage::config, path.parent_path().string()));
  return sys::replaceFile(Stage::config, folder, path.filename().string(), json::serialize(root) + "\n",
                          0600);
}

std::optional<Wall::time_point> LastSeen::of(const std::string& name,
                                             std::optional<Wall::time_point> updatedAt) const {
  const auto found = entries_.find(name);
  if (found == entries_.end() || !updatedAt) return updatedAt;
  const auto& entry = found->second;
  const bool passed = entry.passedOn && *entry.passedOn >= entry.served;
  if (passed && *updatedAt >= *entry.passedOn) return updatedAt;
  // A pull without the mirror: containerd was not set up to ask it, or the daemon did not run.
  if (*updatedAt > later(entry.served, kLongestPull)) return updatedAt;
  return entry.seen;
}

Result<> LastSeen::served(const std::string& name, std::optional<Wall::time_point> updatedAt,
                          Wall::time_point now) {
  const auto seen = of(name, updatedAt);
  const auto found = entries_.find(name);
  const bool known = found != entries_.end() && found->second.seen == seen && !found->second.passedOn &&
                     now - found->second.served < kServedStep && now >= found->second.served;
  if (known) return {};
  if (found == entries_.end() && entries_.size() >= kMaxNames) {
    entries_.erase(std::min_element(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) {
      return a.second.served < b.second.served;
    }));
  }
  entries_[name] = {seen, now, std::nullopt};
  return save();
}

Result<> LastSeen::passedOn(const std::string& name, Wall::time_point now) {
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.passedOn) return {};
  found->second.passedOn = now;
  return save();
}

}  // namespace fallbackd::mirror
