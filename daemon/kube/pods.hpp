// SPDX-License-Identifier: Apache-2.0
// What the node knows of its pods. Answers from memory at once, so that a recovery can use it. One thread.
#pragma once

#include "kube/source.hpp"
#include "kube/view.hpp"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace fallbackd::kube {

class Pods final : public PodSink {
 public:
  explicit Pods(std::size_t maxBytes = View::kMaxBytes) : view_(maxBytes) {}

  /// Null: no source has described this pod yet. refresh() requests it.
  [[nodiscard]] PodPtr find(const std::string& uid) const { return view_.find(uid); }
  [[nodiscard]] std::vector<PodPtr> all() const { return view_.all(); }
  [[nodiscard]] std::size_t size() const { return view_.size(); }
  [[nodiscard]] std::uint64_t leftOut() const { return view_.leftOut(); }

  /// The configured sources, in the order of their precedence.
  [[nodiscard]] std::vector<SourceState> sources() const;
  /// When the remembered view was saved; absent once a source has listed its pods, or if nothing was
  /// remembered.
  [[nodiscard]] std::optional<Wall::time_point> rememberedSince() const { return remembered_; }

  /// Called after each change with the uid of the pod, or with an empty text if many may have changed.
  void onChange(std::function<void(const std::string& uid)> tell) { changed_ = std::move(tell); }
  /// Called when a source's health changes, or its error.
  void onState(std::function<void(const SourceState&)> tell) { stateListener_ = std::move(tell); }
  /// Sets how refresh() reaches the sources that are queried on demand.
  void refreshWith(std::function<void(const std::string& uid)> ask) { ask_ = std::move(ask); }

  /// Queries the sources about a waiting pod. Returns at once; onChange reports the answers.
  void refresh(const std::string& uid) {
    if (ask_) ask_(uid);
  }

  void remember(std::vector<PodPtr> pods, Wall::time_point saved);
  void listed(SourceKind source, std::vector<PodPtr> pods) override;
  void changed(SourceKind source, PodPtr pod) override;
  void gone(SourceKind source, PodPtr pod) override;
  void stateChanged(SourceState state) override;

 private:
  void tell(const std::string& uid) const {
    if (changed_) changed_(uid);
  }

  View view_;
  std::map<SourceKind, SourceState> states_;
  std::optional<Wall::time_point> remembered_;
  std::function<void(const std::string&)> changed_;
  std::function<void(const SourceState&)> stateListener_;
  std::function<void(const std::string&)> ask_;
};

}  // namespace fallbackd::kube
