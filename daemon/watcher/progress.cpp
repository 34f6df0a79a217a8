// SPDX-License-Identifier: Apache-2.0
#include "watcher/progress.hpp"

#include "base/strings.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

namespace fallbackd::watcher {

namespace {

/// Ingests are called "layer-sha256:...", "manifest-sha256:...", "index-sha256:...".
std::string_view digestOf(std::string_view ingest) {
  const auto at = ingest.find("sha");
  return at == std::string_view::npos ? ingest : ingest.substr(at);
}

bool isManifest(std::string_view ingest) {
  return ingest.starts_with("manifest-") || ingest.starts_with("index-");
}

bool cameFrom(const cri::Content& content, std::string_view repository) {
  const auto all = split(content.repositories, ',');
  return std::find(all.begin(), all.end(), repository) != all.end();
}

/// Takes the later one; one that is not known may be the latest.
void note(Movement::When& last, const std::optional<Wall::time_point>& at) {
  const auto when = at.value_or(Wall::time_point::max());
  last = std::max(last.value_or(when), when);
}

}  // namespace

bool Progress::downloadingOurs() const {
  return std::any_of(before_.begin(), before_.end(), [](const auto& one) { return one.second.ours; });
}

Movement Progress::look(const std::vector<cri::Content>& contents, const std::vector<cri::Ingest>& ingests) {
  Movement movement;
  std::map<std::string, std::optional<Wall::time_point>, std::less<>> created;
  std::set<std::string> stored;
  std::set<std::string, std::less<>> below;
  for (const auto& content : contents) {
    created.emplace(content.digest, content.createdAt);
    if (!cameFrom(content, repository_)) continue;
    stored.insert(content.digest);
    below.insert(content.children.begin(), content.children.end());
    if (stored_.contains(content.digest)) continue;
    note(movement.ours, content.createdAt);
  }
  std::map<std::string, Download> now;
  bool ownMoved = movement.ours.has_value();
  complete_ = false;
  for (const auto& ingest : ingests) {
    const bool ours = below.contains(digestOf(ingest.ref));
    if (!ours) {
      if (first_) foreign_.insert(ingest.ref);
      if (!isManifest(ingest.ref) || foreign_.contains(ingest.ref)) continue;
    }
    now.emplace(ingest.ref, Download{ingest.offset, ours});
    complete_ = complete_ || (ours && ingest.total > 0 && ingest.offset >= ingest.total);
    const auto known = before_.find(ingest.ref);
    const bool begun = known == before_.end() && ingest.offset == 0;
    if (known != before_.end() && ingest.offset == known->second.offset) continue;
    if (begun && !isManifest(ingest.ref)) continue;
    // A manifest that begins to be fetched: the registry has answered what its digest is.
    note(ours ? movement.ours : movement.perhapsOurs, begun ? ingest.startedAt : std::nullopt);
    ownMoved = ownMoved || ours;
    delivered_ =
        delivered_ || (known != before_.end() && known->second.ours && ingest.offset > known->second.offset &&
                       !isManifest(ingest.ref) && !foreign_.contains(ingest.ref));
  }
  // A download that is gone from the list was completed.
  for (const auto& [ref, download] : before_) {
    if (now.contains(ref)) continue;
    const auto found = created.find(digestOf(ref));
    delivered_ = delivered_ ||
                 (download.ours && !isManifest(ref) && !foreign_.contains(ref) && found != created.end());
    note(download.ours ? movement.ours : movement.perhapsOurs,
         found == created.end() ? std::nullopt : found->second);
  }
  if (first_) movement = {};
  ownMoved_ = ownMoved_ || (ownMoved && !first_);
  first_ = false;
  stored_ = std::move(stored);
  before_ = std::move(now);
  return movement;
}

}  // namespace fallbackd::watcher
