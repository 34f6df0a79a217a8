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

}  // namespace

bool Progress::look(const std::vector<cri::Content>& contents, const std::vector<cri::Ingest>& ingests) {
  std::set<std::string> stored;
  std::set<std::string, std::less<>> below;
  for (const auto& content : contents) {
    if (!cameFrom(content, repository_)) continue;
    stored.insert(content.digest);
    below.insert(content.children.begin(), content.children.end());
  }
  std::map<std::string, std::int64_t> now;
  bool moved = false;
  bool ownMoved = false;
  complete_ = false;
  for (const auto& ingest : ingests) {
    const bool own = below.contains(digestOf(ingest.ref));
    if (!own) {
      if (first_) foreign_.insert(ingest.ref);
      if (!isManifest(ingest.ref) || foreign_.contains(ingest.ref)) continue;
    }
    now.emplace(ingest.ref, ingest.offset);
    complete_ = complete_ || (own && ingest.total > 0 && ingest.offset >= ingest.total);
    const auto known = before_.find(ingest.ref);
    // A manifest that begins to be fetched: the registry has answered what its digest is.
    const bool grew =
        known == before_.end() ? ingest.offset > 0 || isManifest(ingest.ref) : ingest.offset != known->second;
    moved = moved || grew;
    ownMoved = ownMoved || (own && grew);
  }
  // A download that is gone from the list was completed; what is new in the store was one.
  moved = moved || std::any_of(before_.begin(), before_.end(),
                               [&](const auto& one) { return !now.contains(one.first); });
  ownMoved = ownMoved || !std::includes(stored_.begin(), stored_.end(), stored.begin(), stored.end());
  moved = (moved || ownMoved) && !first_;
  ownMoved_ = ownMoved_ || (ownMoved && !first_);
  first_ = false;
  stored_ = std::move(stored);
  before_ = std::move(now);
  return moved;
}

}  // namespace fallbackd::watcher
