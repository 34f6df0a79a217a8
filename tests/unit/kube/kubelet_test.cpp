// SPDX-License-Identifier: Apache-2.0
// kubelet as a source: it is queried only when a pod waits.
#include "kube/kubelet.hpp"

#include "source_fixture.hpp"

namespace fallbackd::kube {
namespace {

using namespace std::chrono_literals;
using kube_test::Authority;
using kube_test::FakeKubelet;
using kube_test::Fault;
using kube_test::podJson;
using testing::HasSubstr;
using testing::IsEmpty;

class KubeletTest : public test_support::SourceFixture {
 protected:
  KubeletTest() {
    servers = {&kubelet};
    kubelet.acceptTokens({"secret-1"});
    kubelet.setPods({podJson("checkout-1", "uid-1")});
    access.server = parseUrl("https://" + kubelet.address()).value();
    access.pinnedCertificate = folder.write("kubelet.crt", own.certificate);
    access.token.file = folder.write("token", "secret-1");
    tasks.spawn(source.run());
  }
  ~KubeletTest() override { EXPECT_THAT(kubelet.violations(), IsEmpty()); }

  kube_test::Leaf own = Authority::selfSigned("DNS:node-1");
  FakeKubelet kubelet{own};
  Access access;
  Kubelet source{loop.get_executor(), [this] { return Result<Access>(access); }, pods};
};

TEST_F(KubeletTest, IsAskedWhenAPodWaitsAndNotOtherwise) {
  clock.advance(loop, 1h);
  EXPECT_EQ(kubelet.connections(), 0U);
  EXPECT_TRUE(is(Health::waiting));
  source.refresh("uid-1");
  EXPECT_TRUE(soon([&] { return pods.find("uid-1") != nullptr && is(Health::up); }));
  EXPECT_EQ(kubelet.requests().back().path, "/pods");
  clock.advance(loop, 1h);
  EXPECT_EQ(kubelet.requests().size(), 1U);
}

TEST_F(KubeletTest, ManyPodsMakeOneRequest) {
  std::vector<std::string> all;
  for (int i = 0; i < 100; ++i) all.push_back(podJson("p-" + std::to_string(i), "uid-" + std::to_string(i)));
  kubelet.setPods(all);
  for (int i = 0; i < 100; ++i) source.refresh("uid-" + std::to_string(i));
  EXPECT_TRUE(soon([&] { return pods.size() == 100; }));
  clock.advance(loop, 1min);
  EXPECT_EQ(kubelet.requests().size(), 1U);
}

TEST_F(KubeletTest, APodThatWaitsDuringARequestIsAskedForAgain) {
  kubelet.hold(true);
  source.refresh("uid-1");
  ASSERT_TRUE(soon([&] { return kubelet.requests().size() == 1; }));
  clock.advance(loop, 10ms);
  source.refresh("uid-1");
  kubelet.hold(false);
  EXPECT_TRUE(eventually([&] { return kubelet.requests().size() == 2 && is(Health::up); }));
}

TEST_F(KubeletTest, APodThatKubeletDoesNotKnowYetIsAskedForAFewTimes) {
  source.refresh("uid-2");
  EXPECT_TRUE(eventually([&] { return kubelet.requests().size() >= 2; }));
  kubelet.setPods({podJson("checkout-2", "uid-2")});
  EXPECT_TRUE(eventually([&] { return pods.find("uid-2") != nullptr; }));
  EXPECT_EQ(pods.find("uid-1"), nullptr) << "kubelet no longer has the pod";
  source.refresh("nobody");
  ASSERT_TRUE(eventually([&] { return kubelet.requests().size() >= 6; }));
  clock.advance(loop, 10min);
  settle();
  EXPECT_LE(kubelet.requests().size(), 10U);
}

TEST_F(KubeletTest, ARefusalNamesTheVersionAndTheRight) {
  kubelet.trouble({Fault::status, 403});
  source.refresh("uid-1");
  ASSERT_TRUE(soon([&] { return is(Health::failing); }));
  EXPECT_THAT(state().error, HasSubstr("1.33"));
  EXPECT_THAT(state().error, HasSubstr("nodes/pods"));
  EXPECT_EQ(count(Outcome::forbidden), 1U);
}

TEST_F(KubeletTest, AnotherCertificateGetsNoToken) {
  kubelet.certify(Authority::selfSigned("DNS:node-1"));
  source.refresh("uid-1");
  ASSERT_TRUE(soon([&] { return is(Health::failing); }));
  EXPECT_EQ(count(Outcome::tls), 1U);
  EXPECT_THAT(kubelet.requests(), IsEmpty());
  kubelet.certify(own);
  EXPECT_TRUE(eventually([&] { return pods.find("uid-1") != nullptr; }));
}

TEST_F(KubeletTest, WithoutAPinnedCertificateNothingIsAsked) {
  access.pinnedCertificate.clear();
  access.authorities.text = own.certificate;
  source.refresh("uid-1");
  EXPECT_TRUE(soon([&] { return is(Health::failing); }));
  EXPECT_EQ(kubelet.connections(), 0U);
}

TEST_F(KubeletTest, EveryFailureIsReportedAndHeals) {
  for (const auto fault : {Fault::silent_accept, Fault::silent_answer, Fault::silent_body,
                           Fault::cut_before_answer, Fault::cut_body, Fault::not_http, Fault::not_json,
                           Fault::huge_header, Fault::huge_body, Fault::redirect, Fault::status}) {
    kubelet.trouble({fault, 401});
    source.refresh("uid-1");
    EXPECT_TRUE(eventually([&] { return is(Health::failing); })) << static_cast<int>(fault);
    EXPECT_NE(state().error, "");
    kubelet.heal();
    EXPECT_TRUE(eventually([&] { return is(Health::up); })) << static_cast<int>(fault);
  }
  EXPECT_TRUE(pods.find("uid-1"));
}

TEST_F(KubeletTest, APodThatWaitsTooLongIsForgotten) {
  kubelet.trouble({Fault::status, 500});
  source.refresh("uid-1");
  ASSERT_TRUE(soon([&] { return is(Health::failing); }));
  for (int i = 0; i < 60; ++i) {
    clock.advance(loop, 5s);
    settle();
  }
  const auto asked = kubelet.requests().size();
  EXPECT_LE(asked, 12U);
  clock.advance(loop, 1h);
  EXPECT_EQ(kubelet.requests().size(), asked);
}

}  // namespace
}  // namespace fallbackd::kube
