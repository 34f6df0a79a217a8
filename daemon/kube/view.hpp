// SPDX-License-Identifier: Apache-2.0
// The pods of the node as all sources together describe them. If several know a pod, the latest description
// wins. One thread.
#pragma once

#include "kube/source.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace fallbackd::kube {

class View {
 public:
  // Far above what a node can have (kubelet's limit is 110 by default), so that memory stays bounded.
  static constexpr std::size_t kMaxPods = 4096;
  static constexpr std::size_t kMaxBytes = 64UL << 20;

  explicit View(std::size_t maxBytes = kMaxBytes) : maxBytes_(maxBytes) {}

  /// Sets what an earlier daemon knew: valid until a source has listed its pods.
  void remember(std::vector<PodPtr> pods);

  /// All pods that the source has now. Those that it no longer has are forgotten. kubelet's list also decides
  /// for an API server that is `failing`, because it reports no deletions.
  void list(SourceKind source, const std::vector<PodPtr>& pods);
  void change(SourceKind source, const PodPtr& pod);
  void remove(SourceKind source, const PodPtr& pod);
  /// True: pods are back that kubelet did not know while the API server was away. A watch that continues does
  /// not report them again.
  bool health(SourceKind source, Health health);

  /// Null if no source knows it. Without text if there is no room for it.
  [[nodiscard]] PodPtr find(const std::string& uid) const;
  [[nodiscard]] std::vector<PodPtr> all() const;
  [[nodiscard]] std::size_t size() const { return pods_.size(); }
  /// How often a pod exceeded the limits: it was not added, or the longest description was dropped.
  [[nodiscard]] std::uint64_t leftOut() const { return leftOut_; }
  /// Counts changes of anything but a status, and descriptions that have their text again.
  [[nodiscard]] std::uint64_t lastingChanges() const { return lastingChanges_; }

 private:
  static constexpr std::size_t kSlots = kSources + 1;  // and the remembered view
  struct Slot {
    PodPtr pod;
    std::uint64_t order = 0;
  };
  struct Entry {
    std::array<Slot, kSlots> slots;
    bool hadText = false;  // its latest description, after the last call
  };
  using Entries = std::map<std::string, Entry>;

  /// kSlots: no slot has a pod.
  static std::size_t latestOf(const Entry& entry);
  /// The latest description. The entry has one.
  static const PodPtr& podOf(const Entry& entry);
  bool claim(const PodPtr& pod);
  void put(std::size_t slot, const PodPtr& pod, std::uint64_t order);
  void borrowText(Entry& entry, const PodPtr& from);
  void set(Slot& slot, PodPtr pod);
  void makeRoom();
  void settle();
  void forgetAllBut(const std::vector<PodPtr>& pods, SourceKind source);
  Entries::iterator clear(Entries::iterator entry, std::size_t slot);
  Entries::iterator erase(Entries::iterator entry);

  Entries pods_;                            // by uid
  std::map<std::string, PodPtr> setAside_;  // of the API server, until it answers
  std::array<Health, kSources> health_{};
  std::size_t maxBytes_;
  std::size_t texts_ = 0;  // bytes
  std::size_t rest_ = 0;   // bytes of labels and annotations
  std::uint64_t order_ = 0;
  std::uint64_t leftOut_ = 0;
  std::uint64_t lastingChanges_ = 0;
};

}  // namespace fallbackd::kube
