// SPDX-License-Identifier: Apache-2.0
#include "kube/owner_reader.hpp"

#include "base/async/loop_clock.hpp"
#include "base/async/within.hpp"
#include "base/query.hpp"
#include "base/strings.hpp"
#include "kube/outcome.hpp"
#include "kube/requests.hpp"

#include <map>
#include <memory>
#include <utility>

#include <boost/asio/this_coro.hpp>

namespace fallbackd::kube {

namespace asio = boost::asio;
namespace json = boost::json;

struct OwnerReader::Found {
  std::optional<json::object> controller;
  std::optional<json::object> deployment;
  std::string trouble;
};

namespace {

constexpr std::chrono::seconds kKept{60};  // no question takes older answers

/// Empty: we do not know how such an owner rolls out.
std::string resourceOf(const Owner& owner) {
  static const std::map<std::string, std::string> kResources{{"ReplicaSet", "replicasets"},
                                                             {"Deployment", "deployments"},
                                                             {"StatefulSet", "statefulsets"},
                                                             {"DaemonSet", "daemonsets"}};
  const auto found = kResources.find(owner.kind);
  return found == kResources.end() || owner.apiVersion != "apps/v1" ? std::string() : found->second;
}

asio::awaitable<Result<json::object>> getOwner(Requests& requests, std::string namespaceName, Owner owner) {
  const auto resource = resourceOf(owner);
  if (!isPathSegment(owner.name)) {
    co_return fail(
        Stage::kube, Reason::invalid,
        "get " + resource + " " + fallbackd::quoted(owner.name) + ": no object can have this name");
  }
  auto target = "/apis/apps/v1/namespaces/" + queryEscaped(namespaceName) + "/" + resource + "/" +
                queryEscaped(owner.name);
  FB_CO_TRY(const auto answer, co_await requests.get(std::move(target)));
  if (answer.status != 200) {
    std::string text =
        "get " + resource + " " + owner.name + ": the API server answered " + std::to_string(answer.status);
    if (answer.status == 403) text += ": a ClusterRole that allows to get " + resource + " is missing";
    co_return fail(Stage::kube, Reason::not_permitted, std::move(text));
  }
  json::error_code error;
  auto value = json::parse(answer.body, error);
  if (error || !value.is_object()) {
    co_return fail(Stage::kube, Reason::protocol, "get " + resource + " " + owner.name + ": not an object");
  }
  co_return std::move(value.get_object());
}

using Object = std::optional<json::object>;

asio::awaitable<Result<>> findOwners(AccessSource source, PodPtr pod, std::shared_ptr<Object> controller,
                                     std::shared_ptr<Object> deployment) {
  Requests requests(std::move(source), OwnerReader::kLimit);
  FB_CO_TRY(*controller, co_await getOwner(requests, pod->namespaceName, *pod->owner));
  const auto above = controllerOf(**controller);
  if (above && !resourceOf(*above).empty()) {
    FB_CO_TRY(*deployment, co_await getOwner(requests, pod->namespaceName, *above));
  }
  co_return Result<>();
}

}  // namespace

asio::awaitable<RolloutView> OwnerReader::rollout(PodPtr pod, std::chrono::nanoseconds maxAge) {
  const auto& clock = LoopClock::of(co_await asio::this_coro::executor);
  if (!pod->owner || resourceOf(*pod->owner).empty()) co_return rolloutOf(*pod, {});
  const auto now = clock.now();
  std::erase_if(shared_, [&](const auto& one) { return now - one.second.at > kKept; });
  const auto key =
      pod->namespaceName + "/" + pod->owner->kind + "/" + pod->owner->name + "/" + pod->owner->uid;
  const auto known = shared_.find(key);
  auto found = known != shared_.end() && now - known->second.at < maxAge ? known->second.found : nullptr;
  if (found == nullptr) {
    // On the heap: a coroutine that is cancelled at the limit may still write.
    const auto controller = std::make_shared<Object>();
    const auto deployment = std::make_shared<Object>();
    const auto done = co_await within(kLimit, findOwners(access_, pod, controller, deployment));
    auto read = std::make_shared<Found>();
    if (!done) {
      read->trouble = "the API server did not answer in time";
    } else if (!*done) {
      read->trouble = done->error().message();
    }
    read->controller = std::move(*controller);
    read->deployment = std::move(*deployment);
    found = read;
    // What could not be read is requested again.
    if (found->trouble.empty()) shared_[key] = {now, found};
  }
  auto view = rolloutOf(*pod, {found->controller ? &*found->controller : nullptr,
                               found->deployment ? &*found->deployment : nullptr});
  if (!found->trouble.empty()) view.why += ": " + found->trouble;
  co_return view;
}

}  // namespace fallbackd::kube
