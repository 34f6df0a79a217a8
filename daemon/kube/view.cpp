// SPDX-License-Identifier: Apache-2.0
#include "kube/view.hpp"

#include <set>
#include <string_view>
#include <utility>

namespace fallbackd::kube {

namespace {

constexpr std::size_t kRemembered = kSources;

std::size_t slotOf(SourceKind source) {
  return static_cast<std::size_t>(source);
}

std::size_t sizeOf(const std::map<std::string, std::string>& texts) {
  std::size_t bytes = 0;
  for (const auto& [key, value] : texts) bytes += key.size() + value.size();
  return bytes;
}

std::size_t sizeOf(const PodPtr& pod) {
  return pod == nullptr ? 0 : pod->json.size() + sizeOf(pod->labels) + sizeOf(pod->annotations);
}

}  // namespace

const PodPtr* View::latestOf(const Entry& entry) {
  const Slot* latest = nullptr;
  for (const auto& slot : entry.slots) {
    if (slot.pod != nullptr && (latest == nullptr || slot.order > latest->order)) latest = &slot;
  }
  return latest == nullptr ? nullptr : &latest->pod;
}

/// Whether a description may stand under its uid. A mirror never takes another pod's place; a pod takes its
/// own from a mirror that claimed it.
bool View::claim(const PodPtr& pod) {
  const auto found = pods_.find(pod->uid);
  if (found == pods_.end()) return true;
  const auto& there = **latestOf(found->second);
  if (isSamePod(there, *pod)) return true;
  if (pod->isMirror) return false;
  for (auto& slot : found->second.slots) bytes_ -= sizeOf(slot.pod);
  pods_.erase(found);
  return true;
}

void View::put(std::size_t slot, const PodPtr& pod) {
  if (!claim(pod)) {
    ++leftOut_;
    return;
  }
  const auto found = pods_.find(pod->uid);
  const std::size_t held = found == pods_.end() ? 0 : sizeOf(found->second.slots.at(slot).pod);
  if (found == pods_.end() && pods_.size() >= kMaxPods) {
    ++leftOut_;
    return;
  }
  auto& entry = pods_[pod->uid];
  const auto* const before = latestOf(entry);
  if (before == nullptr || (*before)->lastingHash != pod->lastingHash) ++lastingChanges_;
  bytes_ += sizeOf(pod) - held;
  entry.slots.at(slot) = {pod, ++order_};
  makeRoom();
  if (bytes_ <= kMaxBytes) return;
  ++leftOut_;
  clear(pods_.find(pod->uid), slot);
}

/// The longest description goes first, whoever came first: otherwise some large pods take the room of all
/// others.
void View::makeRoom() {
  while (bytes_ > kMaxBytes) {
    Slot* longest = nullptr;
    for (auto& [uid, entry] : pods_) {
      for (auto& slot : entry.slots) {
        const bool has = slot.pod != nullptr && !slot.pod->json.empty();
        if (has && (longest == nullptr || slot.pod->json.size() > longest->pod->json.size())) longest = &slot;
      }
    }
    if (longest == nullptr) return;
    bytes_ -= longest->pod->json.size();
    longest->pod = withoutText(*longest->pod);
    ++leftOut_;
  }
}

View::Entries::iterator View::clear(Entries::iterator entry, std::size_t slot) {
  auto& held = entry->second.slots.at(slot);
  bytes_ -= sizeOf(held.pod);
  held = {};
  if (latestOf(entry->second) != nullptr) return std::next(entry);
  ++lastingChanges_;
  return pods_.erase(entry);
}

void View::remember(std::vector<PodPtr> pods) {
  for (const auto& pod : pods) put(kRemembered, pod);
}

void View::list(SourceKind source, const std::vector<PodPtr>& pods) {
  std::set<std::string_view> listed;
  for (const auto& pod : pods) listed.insert(pod->uid);
  for (const auto& pod : pods) put(slotOf(source), pod);
  const auto apiSlot = slotOf(SourceKind::apiserver);
  const bool alsoForApi = source == SourceKind::kubelet && health_.at(apiSlot) != Health::up;
  if (source == SourceKind::apiserver) setAside_.clear();
  for (auto entry = pods_.begin(); entry != pods_.end();) {
    const bool gone = !listed.contains(entry->first);
    const auto uid = entry->first;
    auto next = clear(entry, kRemembered);
    if (gone && pods_.contains(uid)) next = clear(pods_.find(uid), slotOf(source));
    if (gone && alsoForApi && pods_.contains(uid)) {
      const auto found = pods_.find(uid);
      if (const auto& pod = found->second.slots.at(apiSlot).pod) setAside_[uid] = pod;
      next = clear(found, apiSlot);
    }
    entry = next;
  }
}

void View::change(SourceKind source, const PodPtr& pod) {
  if (source == SourceKind::apiserver) setAside_.erase(pod->uid);
  put(slotOf(source), pod);
}

void View::remove(SourceKind source, const PodPtr& pod) {
  if (source == SourceKind::apiserver) setAside_.erase(pod->uid);
  const auto entry = pods_.find(pod->uid);
  if (entry == pods_.end() || !isSamePod(**latestOf(entry->second), *pod)) return;
  // The API's copy of a static pod may go while the pod stays.
  if (pod->isMirror) {
    clear(entry, slotOf(source));
    return;
  }
  for (auto& slot : entry->second.slots) bytes_ -= sizeOf(slot.pod);
  pods_.erase(entry);
  ++lastingChanges_;
}

bool View::health(SourceKind source, Health health) {
  health_.at(slotOf(source)) = health;
  if (source != SourceKind::apiserver || health != Health::up) return false;
  const auto back = std::exchange(setAside_, {});
  for (const auto& [uid, pod] : back) {
    const bool known = pods_.contains(uid);
    put(slotOf(source), pod);
    if (known) pods_.at(uid).slots.at(slotOf(source)).order = 0;  // kubelet's description is newer
  }
  return !back.empty();
}

PodPtr View::find(const std::string& uid) const {
  const auto found = pods_.find(uid);
  return found == pods_.end() ? nullptr : *latestOf(found->second);
}

std::vector<PodPtr> View::all() const {
  std::vector<PodPtr> pods;
  pods.reserve(pods_.size());
  for (const auto& [uid, entry] : pods_) pods.push_back(*latestOf(entry));
  return pods;
}

}  // namespace fallbackd::kube
