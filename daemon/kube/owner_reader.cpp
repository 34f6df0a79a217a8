// SPDX-License-Identifier: Apache-2.0
#include "kube/owner_reader.hpp"

#include "base/async/within.hpp"
#include "base/query.hpp"
#include "kube/connection.hpp"
#include "kube/outcome.hpp"

#include <map>

namespace fallbackd::kube {

namespace asio = boost::asio;
namespace json = boost::json;

namespace {

struct Found {
  std::optional<json::object> controller;
  std::optional<json::object> deployment;
};

/// Empty: we do not know how such an owner rolls out.
std::string resourceOf(const Owner& owner) {
  static const std::map<std::string, std::string> kResources{{"ReplicaSet", "replicasets"},
                                                             {"Deployment", "deployments"},
                                                             {"StatefulSet", "statefulsets"},
                                                             {"DaemonSet", "daemonsets"}};
  const auto found = kResources.find(owner.kind);
  return found == kResources.end() || owner.apiVersion != "apps/v1" ? std::string() : found->second;
}

asio::awaitable<Result<json::object>> getOwner(Connection& connection, std::string namespaceName,
                                               Owner owner) {
  const auto resource = resourceOf(owner);
  const auto target = "/apis/apps/v1/namespaces/" + queryEscaped(namespaceName) + "/" + resource + "/" +
                      queryEscaped(owner.name);
  FB_CO_TRY(const auto answer, co_await connection.get(target, OwnerReader::kLimit));
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

asio::awaitable<Result<>> findOwners(AccessSource source, PodPtr pod, std::shared_ptr<Found> found) {
  FB_CO_TRY(auto access, source());
  FB_CO_TRY(auto connection, co_await Connection::open(std::move(access), OwnerReader::kLimit));
  FB_CO_TRY(found->controller, co_await getOwner(connection, pod->namespaceName, *pod->owner));
  const auto above = controllerOf(*found->controller);
  if (above && !resourceOf(*above).empty()) {
    FB_CO_TRY(found->deployment, co_await getOwner(connection, pod->namespaceName, *above));
  }
  co_return Result<>();
}

}  // namespace

asio::awaitable<RolloutView> OwnerReader::rollout(PodPtr pod) const {
  const auto found = std::make_shared<Found>();
  std::string trouble;
  if (pod->owner && !resourceOf(*pod->owner).empty()) {
    const auto done = co_await within(kLimit, findOwners(access_, pod, found));
    if (!done) {
      trouble = "the API server did not answer in time";
    } else if (!*done) {
      trouble = done->error().message();
    }
  }
  auto view = rolloutOf(*pod, {found->controller ? &*found->controller : nullptr,
                               found->deployment ? &*found->deployment : nullptr});
  if (!trouble.empty()) view.why += ": " + trouble;
  co_return view;
}

}  // namespace fallbackd::kube
