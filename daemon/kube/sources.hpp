// SPDX-License-Identifier: Apache-2.0
// All sources together, on their own low-priority thread: large answers, TLS and the disk cost a recovery no
// more than its share of a CPU. What they learn reaches `Pods` on the daemon's loop. Kubernetes Events are
// written from the same thread.
#pragma once

#include "config/pause.hpp"
#include "kube/access.hpp"
#include "kube/event_recorder.hpp"
#include "kube/object_reader.hpp"
#include "kube/pods.hpp"
#include "kube/rollout.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::kube {

struct SourceSettings {
  std::vector<SourceKind> kinds;  // empty: none
  std::string nodeName;
  std::string kubeconfig;                    // empty: the service account of this pod
  std::string kubeletAddress;                // HOST:PORT
  std::string kubeletCertificate;            // the file with kubelet's serving certificate
  std::string viewFile;                      // empty: the view is not kept on disk
  std::vector<std::string> readVariablesIn;  // namespaces; empty: ConfigMaps and Secrets are never read
  bool events = false;                       // Events are written; needs no source
  bool namespacePause = false;               // namespaces are watched for pauses; needs no source
  std::string stateFolder;                   // where known pauses are kept for the next start
};

class Sources {
 public:
  /// `pods` is changed on `loop` only, until stop() has returned. `trouble` is called there, too, with
  /// problems of the view's file.
  Sources(const boost::asio::any_io_executor& loop, SourceSettings settings, Pods& pods,
          std::function<void(const std::string&)> trouble);
  /// Stops.
  ~Sources();
  Sources(const Sources&) = delete;
  Sources& operator=(const Sources&) = delete;

  /// Reads the view's file, which blocks for a moment, and starts the thread.
  void start();
  /// Saves the view and ends the thread. Blocks.
  void stop();

  /// Called on the loop when something changes about Events. Before start().
  void onEvents(std::function<void(const EventState&)> tell);
  /// `pauses` is called on the loop with what namespaces' annotations pause: at start() with what an earlier
  /// daemon knew, then at each change. `state` gets the state of the watch. Call it before start().
  void onNamespaces(std::function<void(const config::Pause::Orders&)> pauses,
                    std::function<void(const SourceState&)> state);
  /// Writes an Event later. Never waits; excess notes are dropped and counted.
  void tell(EventNote note);

  /// Requests the pod's owners; `then` is called on the loop, after half a second at the latest. Without an
  /// API server among the sources the answer is unknown. `maxAge`: as in OwnerReader.
  void rollout(PodPtr pod, std::chrono::nanoseconds maxAge, std::function<void(RolloutView)> then);

  /// Reads the ConfigMaps and Secrets; `then` is called on the loop. False if that is not allowed for the
  /// namespace: then `then` is not called.
  bool objects(std::string namespaceName, NamedObjects names, std::function<void(ObjectAnswers)> then);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace fallbackd::kube
