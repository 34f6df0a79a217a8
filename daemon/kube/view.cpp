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

std::size_t textOf(const PodPtr& pod) {
  return pod == nullptr ? 0 : pod->json.size();
}

/// What stays of it when its text is dropped.
std::size_t restOf(const PodPtr& pod) {
  return pod == nullptr ? 0 : sizeOf(pod->labels) + sizeOf(pod->annotations);
}

}  // namespace

std::size_t View::latestOf(const Entry& entry) {
  std::size_t latest = kSlots;
  for (std::size_t i = 0; i < kSlots; ++i) {
    const auto& slot = entry.slots.at(i);
    if (slot.pod != nullptr && (latest == kSlots || slot.order > entry.slots.at(latest).order)) latest = i;
  }
  return latest;
}

const PodPtr& View::podOf(const Entry& entry) {
  return entry.slots.at(latestOf(entry)).pod;
}

void View::set(Slot& slot, PodPtr pod) {
  texts_ += textOf(pod) - textOf(slot.pod);
  rest_ += restOf(pod) - restOf(slot.pod);
  slot.pod = std::move(pod);
}

View::Entries::iterator View::erase(Entries::iterator entry) {
  for (auto& slot : entry->second.slots) set(slot, nullptr);
  return pods_.erase(entry);
}

/// Whether a description may be kept under its uid. A mirror never takes another pod's place; a pod takes its
/// own place back from a mirror that claimed it.
bool View::claim(const PodPtr& pod) {
  const auto found = pods_.find(pod->uid);
  if (found == pods_.end() || isSamePod(*podOf(found->second), *pod)) return true;
  if (pod->isMirror) return false;
  erase(found);
  return true;
}

void View::put(std::size_t slot, const PodPtr& pod, std::uint64_t order) {
  const bool mayStand = claim(pod);
  const auto found = pods_.find(pod->uid);
  const bool isNew = found == pods_.end();
  if (!mayStand || (isNew && pods_.size() >= kMaxPods)) {
    ++leftOut_;
    return;
  }
  const auto was = isNew ? nullptr : found->second.slots.at(slot).pod;
  if (rest_ - restOf(was) + restOf(pod) > maxBytes_) {
    ++leftOut_;
    if (!isNew) clear(found, slot);
    return;
  }
  auto& entry = pods_[pod->uid];
  if (isNew || podOf(entry)->lastingHash != pod->lastingHash) ++lastingChanges_;
  set(entry.slots.at(slot), pod);
  entry.slots.at(slot).order = order;
  borrowText(entry, was);
  for (const auto& other : entry.slots) borrowText(entry, other.pod);
}

/// Takes a text from another description of the pod if there was no room for the latest one's. Status and
/// version in it may be older. If anything else differs, it is not taken: an older image or command would
/// start a different program than the pod's, and without a specification nothing wrong is started.
void View::borrowText(Entry& entry, const PodPtr& from) {
  auto& latest = entry.slots.at(latestOf(entry));
  const bool lacks = latest.pod->json.empty() && textOf(from) != 0;
  if (!lacks || from->lastingHash != latest.pod->lastingHash) return;
  auto made = std::make_shared<PodObject>(*latest.pod);
  made->json = from->json;
  set(latest, std::move(made));
}

/// First drops descriptions that only repeat a pod, because nothing reads them. Then drops the longest
/// descriptions, in whatever order they came: otherwise some large pods would take the room of all others.
void View::makeRoom() {
  while (texts_ + rest_ > maxBytes_) {
    Slot* first = nullptr;
    auto most = std::pair(false, std::size_t{0});
    for (auto& [uid, entry] : pods_) {
      const auto* const latest = &entry.slots.at(latestOf(entry));
      for (auto& slot : entry.slots) {
        const auto one = std::pair(&slot != latest, textOf(slot.pod));
        if (one.second == 0 || one <= most) continue;
        first = &slot;
        most = one;
      }
    }
    if (first == nullptr) return;
    set(*first, withoutText(*first->pod));
    if (!most.first) ++leftOut_;
  }
}

/// Called after all changes of one call: what is replaced or gone takes no room from what stays.
void View::settle() {
  makeRoom();
  for (auto& [uid, entry] : pods_) {
    const bool has = textOf(podOf(entry)) != 0;
    // The file leaves out pods without text: a pod that has its text again is missing there.
    if (has && !entry.hadText) ++lastingChanges_;
    entry.hadText = has;
  }
}

View::Entries::iterator View::clear(Entries::iterator entry, std::size_t slot) {
  auto& held = entry->second.slots.at(slot);
  const auto was = held.pod;
  set(held, nullptr);
  held.order = 0;
  if (latestOf(entry->second) == kSlots) {
    ++lastingChanges_;
    return pods_.erase(entry);
  }
  borrowText(entry->second, was);
  return std::next(entry);
}

void View::remember(std::vector<PodPtr> pods) {
  for (const auto& pod : pods) put(kRemembered, pod, ++order_);
  settle();
}

void View::list(SourceKind source, const std::vector<PodPtr>& pods) {
  if (source == SourceKind::apiserver) setAside_.clear();
  forgetAllBut(pods, source);
  for (const auto& pod : pods) put(slotOf(source), pod, ++order_);
  for (auto entry = pods_.begin(); entry != pods_.end();) entry = clear(entry, kRemembered);
  settle();
}

/// Called before the source's pods are added, which may need the room of those that are gone.
void View::forgetAllBut(const std::vector<PodPtr>& pods, SourceKind source) {
  std::set<std::string_view> listed;
  for (const auto& pod : pods) listed.insert(pod->uid);
  const auto apiSlot = slotOf(SourceKind::apiserver);
  const bool alsoForApi = source == SourceKind::kubelet && health_.at(apiSlot) != Health::up;
  for (auto entry = pods_.begin(); entry != pods_.end();) {
    if (listed.contains(entry->first)) {
      ++entry;
      continue;
    }
    const auto uid = entry->first;
    auto next = clear(entry, kRemembered);
    if (pods_.contains(uid)) next = clear(pods_.find(uid), slotOf(source));
    if (alsoForApi && pods_.contains(uid)) {
      const auto found = pods_.find(uid);
      if (const auto& pod = found->second.slots.at(apiSlot).pod) setAside_[uid] = pod;
      next = clear(found, apiSlot);
    }
    entry = next;
  }
}

void View::change(SourceKind source, const PodPtr& pod) {
  if (source == SourceKind::apiserver) setAside_.erase(pod->uid);
  put(slotOf(source), pod, ++order_);
  settle();
}

void View::remove(SourceKind source, const PodPtr& pod) {
  if (source == SourceKind::apiserver) setAside_.erase(pod->uid);
  const auto entry = pods_.find(pod->uid);
  if (entry == pods_.end() || !isSamePod(*podOf(entry->second), *pod)) return;
  // The API's copy of a static pod may go while the pod stays.
  if (pod->isMirror) {
    clear(entry, slotOf(source));
    settle();
    return;
  }
  erase(entry);
  ++lastingChanges_;
}

bool View::health(SourceKind source, Health health) {
  health_.at(slotOf(source)) = health;
  if (source != SourceKind::apiserver || health != Health::up) return false;
  const auto back = std::exchange(setAside_, {});
  for (const auto& [uid, pod] : back) {
    // kubelet's description of a known pod is newer
    put(slotOf(source), pod, pods_.contains(uid) ? 0 : ++order_);
  }
  settle();
  return !back.empty();
}

PodPtr View::find(const std::string& uid) const {
  const auto found = pods_.find(uid);
  return found == pods_.end() ? nullptr : podOf(found->second);
}

std::vector<PodPtr> View::all() const {
  std::vector<PodPtr> pods;
  pods.reserve(pods_.size());
  for (const auto& [uid, entry] : pods_) pods.push_back(podOf(entry));
  return pods;
}

}  // namespace fallbackd::kube
