// SPDX-License-Identifier: Apache-2.0
// Keeps the view on disk up to date while sources change it, and forwards everything. On the sources'
// thread: writing blocks.
#pragma once

#include "base/async/event.hpp"
#include "kube/source.hpp"
#include "kube/view.hpp"
#include "kube/view_store.hpp"

#include <functional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

class Keeper final : public PodSink {
 public:
  /// `trouble` is called once for each reason why the file cannot be read or written.
  Keeper(const boost::asio::any_io_executor& executor, PodViewStore store, PodSink& next,
         std::function<void(const std::string&)> trouble);

  /// The contents of the file; empty if it cannot be used.
  PodViewStore::Stored load();

  /// Saves soon after anything but a status has changed; after a failure, tries again once a minute. Runs
  /// until it is cancelled.
  boost::asio::awaitable<void> run();
  /// Saves unsaved changes now.
  void save();

  void listed(SourceKind source, std::vector<PodPtr> pods) override;
  void changed(SourceKind source, PodPtr pod) override;
  void gone(SourceKind source, PodPtr pod) override;
  void stateChanged(SourceState state) override;

 private:
  void look();

  const Clock& clock_;
  PodViewStore store_;
  PodSink& next_;
  std::function<void(const std::string&)> trouble_;
  View view_;
  Event changed_;
  std::uint64_t saved_ = 0;  // lastingChanges() of the view at the latest attempt to save it
  bool failed_ = false;      // that attempt failed
  std::string lastReported_;
};

}  // namespace fallbackd::kube
