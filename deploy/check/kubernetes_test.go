// Package check_test reads the files of deploy with the types of those who will read them.
package check_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// manifests are the objects of a file, by kind and name.
func manifests(t *testing.T, path string) map[string]any {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	objects := map[string]any{}
	for _, document := range bytes.Split(b, []byte("\n---\n")) {
		var kind metav1.TypeMeta
		require.NoError(t, yaml.Unmarshal(document, &kind))
		object, ok := map[string]any{
			"apps/v1 Deployment":                      &appsv1.Deployment{},
			"v1 Service":                              &corev1.Service{},
			"policy/v1 PodDisruptionBudget":           &policyv1.PodDisruptionBudget{},
			"networking.k8s.io/v1 NetworkPolicy":      &networkingv1.NetworkPolicy{},
			"monitoring.coreos.com/v1 ServiceMonitor": &monitoringv1.ServiceMonitor{},
		}[kind.APIVersion+" "+kind.Kind]
		require.True(t, ok, "%s %s", kind.APIVersion, kind.Kind)
		require.NoError(t, yaml.UnmarshalStrict(document, object), "%s has a field that Kubernetes does not know", kind.Kind)
		name := object.(metav1.Object).GetName()
		require.NotEmpty(t, name)
		objects[kind.Kind+" "+name] = object
	}
	return objects
}

func matches(t *testing.T, selector *metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	require.NoError(t, err)
	return !s.Empty() && s.Matches(labels.Set(of))
}

// The manifests have no field that Kubernetes does not know, and fit each other and the drain.
func TestKubernetesManifests(t *testing.T) {
	t.Parallel()
	all := manifests(t, "../kubernetes/gateway.yaml")
	require.Len(t, all, 5)
	deployment := all["Deployment gateway"].(*appsv1.Deployment)
	pod := deployment.Spec.Template.Spec
	of := deployment.Spec.Template.Labels
	container := pod.Containers[0]

	// What ends a pod leaves time for the drain.
	drain := time.Duration(0)
	for _, e := range container.Env {
		if e.Name == "GATEWAY_DRAIN_FOR" {
			var err error
			drain, err = time.ParseDuration(e.Value)
			require.NoError(t, err)
		}
	}
	require.Equal(t, 10*time.Second, drain)
	preStop := time.Duration(container.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
	require.GreaterOrEqual(t, preStop, 2*time.Second*time.Duration(container.ReadinessProbe.FailureThreshold), "the Service forgets the pod first")
	require.GreaterOrEqual(t, grace, preStop+drain+10*time.Second, "the gateway ends by itself")

	// A rolling change, and a drain of machines, take one gateway at a time.
	require.Zero(t, deployment.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue())
	budget := all["PodDisruptionBudget gateway"].(*policyv1.PodDisruptionBudget)
	require.Equal(t, 1, budget.Spec.MaxUnavailable.IntValue())
	require.Greater(t, *deployment.Spec.Replicas, int32(1))

	// Everything selects these pods, and names ports that they have.
	ports := map[string]int32{}
	for _, p := range container.Ports {
		ports[p.Name] = p.ContainerPort
	}
	require.Equal(t, map[string]int32{"players": 8080, "operators": 8081}, ports)
	require.True(t, matches(t, deployment.Spec.Selector, of))
	require.True(t, matches(t, budget.Spec.Selector, of))
	policy := all["NetworkPolicy gateway"].(*networkingv1.NetworkPolicy)
	require.True(t, matches(t, &policy.Spec.PodSelector, of))
	for _, rule := range policy.Spec.Ingress {
		for _, p := range rule.Ports {
			require.Contains(t, ports, p.Port.String())
			require.Equal(t, p.Port.String() == "players", len(rule.From) == 0, "operators' port is for Prometheus alone")
		}
	}
	for name, port := range map[string]string{"Service gateway": "players", "Service gateway-operators": "operators"} {
		service := all[name].(*corev1.Service)
		require.True(t, labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(of)), name)
		require.Equal(t, port, service.Spec.Ports[0].TargetPort.String())
	}
	require.Equal(t, "/health/live", container.LivenessProbe.HTTPGet.Path)
	require.Equal(t, "/health/ready", container.ReadinessProbe.HTTPGet.Path)
	for _, probe := range []*corev1.Probe{container.LivenessProbe, container.ReadinessProbe} {
		require.Contains(t, ports, probe.HTTPGet.Port.String())
	}
	require.True(t, *pod.SecurityContext.RunAsNonRoot)
	require.Equal(t, []corev1.Capability{"ALL"}, container.SecurityContext.Capabilities.Drop)
	require.Equal(t, pod.Volumes[0].Name, container.VolumeMounts[0].Name)

	monitor := manifests(t, "../kubernetes/servicemonitor.yaml")["ServiceMonitor gateway"].(*monitoringv1.ServiceMonitor)
	operators := all["Service gateway-operators"].(*corev1.Service)
	require.True(t, matches(t, &monitor.Spec.Selector, operators.Labels))
	require.False(t, matches(t, &monitor.Spec.Selector, all["Service gateway"].(*corev1.Service).Labels), "players' port has no metrics")
	require.Equal(t, operators.Spec.Ports[0].Name, monitor.Spec.Endpoints[0].Port)
	require.Equal(t, "gateway", operators.Labels[monitor.Spec.JobLabel], "the job of deploy/alerts.yaml")
}
